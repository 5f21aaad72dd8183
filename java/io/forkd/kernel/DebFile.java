package io.forkd.kernel;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Predicate;
import org.apache.commons.compress.archivers.ar.ArArchiveEntry;
import org.apache.commons.compress.archivers.ar.ArArchiveInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;

/** A Debian package: an ar archive, in which {@code data.tar.*} has the files. */
final class DebFile {
    private DebFile() {}

    /** Unpacks regular files into a directory; {@code wanted} is asked with names such as {@code boot/vmlinuz-6.1.0}. */
    static void unpack(Path deb, Path into, Predicate<String> wanted) {
        try (InputStream in = new BufferedInputStream(Files.newInputStream(deb), 1 << 17);
                ArArchiveInputStream members = new ArArchiveInputStream(in)) {
            for (ArArchiveEntry member; (member = members.getNextEntry()) != null; ) {
                if (member.getName().startsWith("data.tar")) {
                    unpackTree(Packed.open(member.getName(), members), into, wanted);
                    return;
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("unpack " + deb, e);
        }
        throw new ForkdException(Kind.DAMAGED, deb + " is no Debian package: it has no data.tar");
    }

    private static void unpackTree(InputStream data, Path into, Predicate<String> wanted) throws IOException {
        TarArchiveInputStream tree = new TarArchiveInputStream(new BufferedInputStream(data, 1 << 17));
        for (TarArchiveEntry entry; (entry = tree.getNextEntry()) != null; ) {
            String name = entry.getName().replaceFirst("^\\./", "").replaceFirst("^usr/lib/", "lib/");
            if (!entry.isFile() || !wanted.test(name)) {
                continue;
            }
            Path file = into.resolve(name).normalize();
            if (!file.startsWith(into)) {
                throw new IOException("the member " + entry.getName() + " would leave the folder");
            }
            Files.createDirectories(file.getParent() == null ? into : file.getParent());
            Files.copy(tree, file);
        }
    }
}
