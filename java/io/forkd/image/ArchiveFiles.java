package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarFile;

/** The members of a tar file, read where they lie. */
final class ArchiveFiles implements NamedFiles, AutoCloseable {
    private static final int MAX_LINKS = 16;

    private final Path file;
    private final TarFile tar;
    private final Map<String, TarArchiveEntry> members = new HashMap<>();

    private ArchiveFiles(Path file, TarFile tar) {
        this.file = file;
        this.tar = tar;
        tar.getEntries().forEach(entry -> members.put(clean(entry.getName()), entry));
    }

    static ArchiveFiles open(Path file) {
        try {
            if (!Files.isRegularFile(file)) {
                throw new ForkdException(Kind.NOT_FOUND, "the archive " + file + " does not exist");
            }
            try (InputStream in = Files.newInputStream(file)) {
                byte[] start = in.readNBytes(2);
                if (start.length == 2 && start[0] == 0x1f && start[1] == (byte) 0x8b) {
                    throw new ForkdException(
                            Kind.UNSUPPORTED, file + " is compressed", "Unpack it first: gunzip -k " + file);
                }
            }
            return new ArchiveFiles(file, new TarFile(file));
        } catch (IOException | IllegalArgumentException e) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    "the archive " + file + " is damaged or cut short: "
                            + (e instanceof IOException io ? ForkdException.reason(io) : e.getMessage()),
                    "Make it again.");
        }
    }

    private static String clean(String name) {
        return Path.of("/").resolve(name).normalize().toString().substring(1);
    }

    @Override
    public InputStream open(String name) throws IOException {
        String wanted = clean(name);
        for (int i = 0; i < MAX_LINKS; i++) {
            Optional<TarArchiveEntry> entry = Optional.ofNullable(members.get(wanted));
            if (entry.isEmpty()) {
                break;
            }
            if (entry.get().isFile()) {
                return tar.getInputStream(entry.get());
            }
            // Old archives have one file for equal layers, and links to it.
            String target = entry.get().getLinkName();
            wanted = entry.get().isSymbolicLink() ? clean(wanted + "/../" + target) : clean(target);
        }
        throw new NoSuchFileException(name);
    }

    @Override
    public String place() {
        return file.toString();
    }

    @Override
    public void close() throws IOException {
        tar.close();
    }
}
