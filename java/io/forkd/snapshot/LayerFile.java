package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.BitSet;
import java.util.List;
import java.util.zip.CRC32C;

/** The pages of one layer, in their order; docs/formats.md has the format. */
public final class LayerFile implements AutoCloseable {
    public static final int PAGE = 4096;

    /** Instead of a page: there are no more. */
    static final long END = Long.MAX_VALUE;

    private static final long MAGIC = ByteBuffer.wrap("FORKDLYR".getBytes(StandardCharsets.US_ASCII))
            .order(ByteOrder.LITTLE_ENDIAN)
            .getLong();
    private static final int ENTRY = 24;

    /** Entries that are read at a time. A mapping would keep the room of a file that is removed until it is collected. */
    private static final int WINDOW = 2048;

    private static final int CHECKSUM = PAGE - Integer.BYTES;
    private static final long NO_DATA = -1;

    private final Path file;
    private final FileChannel channel;
    private final long offset; // of the table
    private final long entries;
    private final ByteBuffer window = ByteBuffer.allocate(WINDOW * ENTRY).order(ByteOrder.LITTLE_ENDIAN);
    private long first = Long.MIN_VALUE; // entry of the window
    private long entry;
    private long done; // pages of the current entry

    private LayerFile(Path file, FileChannel channel, long offset, long entries) {
        this.file = file;
        this.channel = channel;
        this.offset = offset;
        this.entries = entries;
    }

    static LayerFile open(Path file) throws IOException {
        FileChannel channel = FileChannel.open(file, StandardOpenOption.READ);
        try {
            ByteBuffer header = ByteBuffer.allocate(PAGE).order(ByteOrder.LITTLE_ENDIAN);
            read(file, channel, header, 0);
            if (header.getLong(0) != MAGIC || header.getInt(CHECKSUM) != crc(header.slice(0, CHECKSUM))) {
                throw damaged(file, "its header is not that of a layer");
            }
            if (header.getInt(8) != 1) {
                throw new ForkdException(
                        Kind.UNSUPPORTED, file + " has a format that this forkd does not know", "Use a newer forkd.");
            }
            long offset = header.getLong(32);
            long entries = header.getLong(24);
            if (offset < PAGE
                    || entries < 0
                    || entries > Integer.MAX_VALUE / ENTRY
                    || offset + entries * ENTRY != channel.size()) {
                throw damaged(file, "its length is not what its header says");
            }
            LayerFile layer = new LayerFile(file, channel, offset, entries);
            layer.require(header.getInt(48), header.getLong(16));
            return layer;
        } catch (IOException | RuntimeException e) {
            channel.close();
            throw e;
        }
    }

    /** Fails unless it is a layer over a whole of that size. */
    static void require(Path file, long bytes) throws IOException {
        try (LayerFile layer = open(file)) {
            ByteBuffer header = ByteBuffer.allocate(PAGE).order(ByteOrder.LITTLE_ENDIAN);
            read(file, layer.channel, header, 0);
            if (header.getLong(16) != bytes) {
                throw damaged(file, "it is a layer over " + header.getLong(16) + " bytes, and not over " + bytes);
            }
        }
    }

    /** The numbers of the pages that layers have of a whole of that size. */
    public static BitSet pages(List<Path> layers, long bytes) {
        BitSet pages = new BitSet();
        for (Path file : layers) {
            try {
                require(file, bytes);
                try (LayerFile layer = open(file)) {
                    for (long page = layer.page(); page != END; page = layer.page()) {
                        pages.set((int) page);
                        layer.next();
                    }
                }
            } catch (IOException e) {
                throw ForkdException.of("read " + file, e);
            }
        }
        return pages;
    }

    /** Each entry lies behind the one before, within the whole, and has the data that come next in the file. */
    private void require(int checksum, long bytes) throws IOException {
        long pages = (bytes >>> 12) + ((bytes & (PAGE - 1)) == 0 ? 0 : 1);
        long next = 0;
        long data = 1;
        CRC32C crc = new CRC32C();
        for (long number = 0; number < entries; number++) {
            int in = in(number);
            crc.update(window.slice(in, ENTRY));
            long at = window.getLong(in + 8);
            long count = Integer.toUnsignedLong(window.getInt(in + 16));
            if (window.getLong(in) < next
                    || count < 1
                    || window.getLong(in) > pages - count
                    || (at != NO_DATA && at != data)) {
                throw damaged(file, "its table is");
            }
            next = window.getLong(in) + count;
            data += at == NO_DATA ? 0 : count;
        }
        if (data != offset / PAGE || (int) crc.getValue() != checksum) {
            throw damaged(file, "its table is");
        }
    }

    /** Where in the window an entry is. */
    private int in(long number) throws IOException {
        if (number < first || number >= first + WINDOW) {
            first = number;
            window.clear().limit((int) Math.min(WINDOW, entries - number) * ENTRY);
            read(file, channel, window, offset + number * ENTRY);
        }
        return (int) (number - first) * ENTRY;
    }

    /** The number of the current page, or {@link #END}. */
    long page() throws IOException {
        return entry < entries ? window.getLong(in(entry)) + done : END;
    }

    /** Reads the current page; false when it is all zeroes. */
    boolean read(ByteBuffer page) throws IOException {
        page.clear();
        long data = window.getLong(in(entry) + 8);
        if (data == NO_DATA) {
            return false;
        }
        read(file, channel, page, (data + done) * PAGE);
        return true;
    }

    void next() throws IOException {
        done++;
        if (done >= Integer.toUnsignedLong(window.getInt(in(entry) + 16))) {
            entry++;
            done = 0;
        }
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }

    private static void read(Path file, FileChannel channel, ByteBuffer out, long position) throws IOException {
        while (out.hasRemaining()) {
            if (channel.read(out, position + out.position()) < 0) {
                throw damaged(file, "it is cut short");
            }
        }
        out.flip();
    }

    private static int crc(ByteBuffer bytes) {
        CRC32C crc = new CRC32C();
        crc.update(bytes);
        return (int) crc.getValue();
    }

    private static ForkdException damaged(Path file, String why) {
        return new ForkdException(Kind.DAMAGED, file + " is damaged: " + why, "Take the snapshot again.");
    }
}
