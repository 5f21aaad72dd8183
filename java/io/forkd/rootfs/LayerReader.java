package io.forkd.rootfs;

import java.io.IOException;
import java.io.InputStream;
import java.time.DateTimeException;
import java.time.Instant;
import java.util.Arrays;
import java.util.Optional;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.archivers.tar.TarUtils;

/** Reads the members of a layer's archive, one after the other; between two of them the content is read. */
final class LayerReader implements AutoCloseable {
    private static final long MAX_ID = 0xffff_fffeL;

    private final HeaderTap tap;
    private final Archive tar;
    private String name = "the first member";

    LayerReader(InputStream archive) {
        this.tap = new HeaderTap(archive);
        this.tar = new Archive(tap);
    }

    /** The member that is being read, for messages: also when its header cannot be read. */
    String name() {
        return name;
    }

    Optional<Member> next() throws IOException {
        TarArchiveEntry entry;
        try {
            // Counting starts after what is left of the content.
            tar.skipNBytes(0);
            tap.start();
            entry = tar.getNextEntry();
        } catch (BadLayerException e) {
            throw e;
        } catch (IOException | IllegalArgumentException | DateTimeException e) {
            throw new BadLayerException("after it the archive is damaged or cut short (" + e.getMessage() + ")");
        } finally {
            tap.stop();
        }
        if (entry == null) {
            return Optional.empty();
        }
        RawHeaders raw = RawHeaders.parse(tap.kept(), tap.length());
        name = raw.path().orElse(entry.getName());
        Instant modified = Optional.ofNullable(entry.getLastModifiedTime())
                .map(time -> time.toInstant())
                .orElse(Instant.EPOCH);
        Member.Type type = type(entry);
        if (type != Member.Type.FILE && type != Member.Type.DIRECTORY && entry.getSize() > 0) {
            throw new BadLayerException("it is no file, and an extended header gives it a size");
        }
        return Optional.of(new Member(
                name,
                type,
                entry.getMode() & 07777,
                id("owner", entry.getLongUserId()),
                id("group", entry.getLongGroupId()),
                modified.getEpochSecond(),
                modified.getNano(),
                raw.link().orElse(entry.getLinkName()),
                entry.getRealSize(),
                entry.getDevMajor(),
                entry.getDevMinor(),
                raw.xattrs()));
    }

    /** The content of the member that came last. Holes of sparse files read as zeroes. */
    InputStream content() {
        return tar;
    }

    private static Member.Type type(TarArchiveEntry entry) throws BadLayerException {
        return switch (entry.getLinkFlag()) {
            case '1' -> Member.Type.HARD_LINK;
            case '2' -> Member.Type.SYMLINK;
            case '3' -> Member.Type.CHARACTER_DEVICE;
            case '4' -> Member.Type.BLOCK_DEVICE;
            case '5' -> Member.Type.DIRECTORY;
            case '6' -> Member.Type.FIFO;
            case 0, '0', '7', 'S' -> entry.isDirectory() ? Member.Type.DIRECTORY : Member.Type.FILE;
            default -> throw new BadLayerException("its type " + (char) entry.getLinkFlag() + " is not known");
        };
    }

    private static long id(String what, long id) throws BadLayerException {
        if (id < 0 || id > MAX_ID) {
            throw new BadLayerException("its " + what + " " + id + " is out of range");
        }
        return id;
    }

    /** Checks headers, and takes sizes for what they are: builders put a file's size into headers of links to it. */
    private static final class Archive extends TarArchiveInputStream {
        private static final int SIZE_AT = 124;
        private static final int SIZE_LENGTH = 12;
        private static final int TYPE_AT = 156;
        private static final int EXTENDED_AT = 482;
        private static final int EXTENDED_AGAIN_AT = 504;

        /** Whether a record of GNU's map of a sparse file comes next. */
        private boolean extended;

        Archive(InputStream archive) {
            super(archive, "ISO-8859-1");
        }

        @Override
        protected byte[] readRecord() throws IOException {
            byte[] record = super.readRecord();
            if (record == null || isEOFRecord(record)) {
                return record;
            }
            if (extended) {
                extended = record[EXTENDED_AGAIN_AT] != 0;
                return record;
            }
            if (!TarUtils.verifyCheckSum(record)) {
                throw new BadLayerException("after it comes a header whose checksum is wrong");
            }
            byte type = record[TYPE_AT];
            extended = type == 'S' && record[EXTENDED_AT] != 0;
            if (type >= '1' && type <= '6') {
                Arrays.fill(record, SIZE_AT, SIZE_AT + SIZE_LENGTH, (byte) '0');
            }
            return record;
        }
    }

    @Override
    public void close() throws IOException {
        tar.close();
    }
}
