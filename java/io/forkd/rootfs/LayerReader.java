package io.forkd.rootfs;

import java.io.IOException;
import java.io.InputStream;
import java.time.Instant;
import java.util.Optional;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;

/** Reads the members of a layer's archive, one after the other; between two of them the content is read. */
final class LayerReader implements AutoCloseable {
    private static final long MAX_ID = 0xffff_fffeL;

    private final HeaderTap tap;
    private final TarArchiveInputStream tar;
    private String name = "the first member";

    LayerReader(InputStream archive) {
        this.tap = new HeaderTap(archive);
        this.tar = new TarArchiveInputStream(tap, "ISO-8859-1");
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
        } catch (IOException | IllegalArgumentException e) {
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
        return Optional.of(new Member(
                name,
                type(entry),
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

    @Override
    public void close() throws IOException {
        tar.close();
    }
}
