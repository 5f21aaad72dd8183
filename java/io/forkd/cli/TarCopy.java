package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.cli.Copy.Item;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;
import org.apache.commons.compress.archivers.tar.TarConstants;

/** An archive that is read or written. */
final class TarCopy {
    private static final String UTF8 = "UTF-8";

    private TarCopy() {}

    /** The names of a path in an archive: none leads up. */
    static List<String> names(String path) {
        List<String> names = Arrays.stream(path.split("/"))
                .filter(name -> !name.isEmpty() && !name.equals("."))
                .toList();
        if (names.contains("..") || path.indexOf('\0') >= 0) {
            throw new ForkdException(
                    Kind.FAILED, "the archive has " + path.replaceAll("\\p{Cc}", "?") + ", which leads out of it");
        }
        return names;
    }

    /** @param leftOut hears of what is not copied */
    record Source(InputStream archive, Consumer<String> leftOut) implements Copy.Source {
        @Override
        public void copyTo(Copy.Sink sink) throws IOException {
            try (TarArchiveInputStream tar = new TarArchiveInputStream(archive, UTF8)) {
                for (TarArchiveEntry entry = tar.getNextEntry(); entry != null; entry = tar.getNextEntry()) {
                    List<String> names = names(entry.getName());
                    Optional<Copy.Type> type = type(entry);
                    if (type.isEmpty()) {
                        leftOut.accept(entry.getName() + " is left out: it is no file, directory or link");
                    } else if (!names.isEmpty()) {
                        sink.take(item(entry, names, type.get()), tar);
                    }
                }
            }
        }

        private static Optional<Copy.Type> type(TarArchiveEntry entry) {
            if (entry.isDirectory()) {
                return Optional.of(Copy.Type.DIRECTORY);
            }
            if (entry.isSymbolicLink()) {
                return Optional.of(Copy.Type.SYMLINK);
            }
            if (entry.isLink()) {
                return Optional.of(Copy.Type.HARD_LINK);
            }
            return entry.isFile() && !entry.isFIFO() && !entry.isBlockDevice() && !entry.isCharacterDevice()
                    ? Optional.of(Copy.Type.FILE)
                    : Optional.empty();
        }

        private static Item item(TarArchiveEntry entry, List<String> names, Copy.Type type) {
            return new Item(
                    names,
                    type,
                    entry.getSize(),
                    entry.getMode() & 07777,
                    entry.getLongUserId(),
                    entry.getLongGroupId(),
                    entry.getLastModifiedTime().toInstant(),
                    Optional.of(entry.getLinkName()).filter(name -> !name.isEmpty()));
        }
    }

    /** Below one name; the stream stays open. */
    static final class Sink implements Copy.Sink {
        private final TarArchiveOutputStream tar;
        private final String prefix;

        Sink(OutputStream out, String prefix) {
            this.tar = new TarArchiveOutputStream(out, UTF8);
            this.prefix = prefix;
            tar.setLongFileMode(TarArchiveOutputStream.LONGFILE_POSIX);
            tar.setBigNumberMode(TarArchiveOutputStream.BIGNUMBER_POSIX);
            tar.setAddPaxHeadersForNonAsciiNames(true);
        }

        @Override
        public void take(Item item, InputStream content) throws IOException {
            List<String> names = new ArrayList<>(List.of(prefix));
            names.addAll(item.names());
            String name = String.join("/", names);
            TarArchiveEntry entry = item.type() == Copy.Type.SYMLINK
                    ? new TarArchiveEntry(name, TarConstants.LF_SYMLINK)
                    : new TarArchiveEntry(item.type() == Copy.Type.DIRECTORY ? name + "/" : name);
            item.target().ifPresent(entry::setLinkName);
            entry.setMode(item.mode());
            entry.setUserId(item.uid());
            entry.setGroupId(item.gid());
            entry.setModTime(java.nio.file.attribute.FileTime.from(item.modified()));
            entry.setSize(item.type() == Copy.Type.FILE ? item.size() : 0);
            tar.putArchiveEntry(entry);
            if (item.type() == Copy.Type.FILE) {
                copy(item, content);
            }
            tar.closeArchiveEntry();
        }

        /** What an archive says before a file has to be so: one that grows is cut, one that shrinks cannot be helped. */
        private void copy(Item item, InputStream content) throws IOException {
            byte[] chunk = new byte[1 << 16];
            long left = item.size();
            while (left > 0) {
                int count = content.read(chunk, 0, (int) Math.min(chunk.length, left));
                if (count < 0) {
                    throw new ForkdException(
                            Kind.FAILED,
                            "a file became shorter while it was copied: " + String.join("/", item.names()));
                }
                tar.write(chunk, 0, count);
                left -= count;
            }
        }

        @Override
        public void close() throws IOException {
            tar.finish();
            tar.flush();
        }
    }
}
