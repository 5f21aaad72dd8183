package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32C;

/** The pages of one layer, in their order; docs/formats.md has the format. */
final class LayerFile implements AutoCloseable {
    static final int PAGE = 4096;

    /** Instead of a page: there are no more. */
    static final long END = Long.MAX_VALUE;

    private static final long MAGIC = ByteBuffer.wrap("FORKDLYR".getBytes(StandardCharsets.US_ASCII))
            .order(ByteOrder.LITTLE_ENDIAN)
            .getLong();
    private static final int ENTRY = 24;
    private static final int CHECKSUM = PAGE - Integer.BYTES;
    private static final long NO_DATA = -1;

    private final Path file;
    private final FileChannel channel;
    private final MappedByteBuffer table;
    private long done; // pages of the current entry

    private LayerFile(Path file, FileChannel channel, MappedByteBuffer table) {
        this.file = file;
        this.channel = channel;
        this.table = table;
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
            long length = header.getLong(24) * ENTRY;
            if (offset < PAGE || length < 0 || length > Integer.MAX_VALUE || offset + length != channel.size()) {
                throw damaged(file, "its length is not what its header says");
            }
            MappedByteBuffer table = channel.map(FileChannel.MapMode.READ_ONLY, offset, length);
            table.order(ByteOrder.LITTLE_ENDIAN);
            if (header.getInt(48) != crc(table.duplicate())) {
                throw damaged(file, "its table is");
            }
            requireOrder(file, table.duplicate().order(ByteOrder.LITTLE_ENDIAN), header.getLong(16), offset / PAGE);
            return new LayerFile(file, channel, table);
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

    /** Each entry lies behind the one before, within the whole, and has the data that come next in the file. */
    private static void requireOrder(Path file, ByteBuffer table, long bytes, long end) {
        long pages = (bytes >>> 12) + ((bytes & (PAGE - 1)) == 0 ? 0 : 1);
        long next = 0;
        long data = 1;
        for (; table.hasRemaining(); table.position(table.position() + ENTRY)) {
            long first = table.getLong(table.position());
            long at = table.getLong(table.position() + 8);
            long count = Integer.toUnsignedLong(table.getInt(table.position() + 16));
            if (first < next || count < 1 || first > pages - count || (at != NO_DATA && at != data)) {
                throw damaged(file, "its table is");
            }
            next = first + count;
            data += at == NO_DATA ? 0 : count;
        }
        if (data != end) {
            throw damaged(file, "its table is");
        }
    }

    /** The number of the current page, or {@link #END}. */
    long page() {
        return table.hasRemaining() ? table.getLong(table.position()) + done : END;
    }

    /** Reads the current page; false when it is all zeroes. */
    boolean read(ByteBuffer page) throws IOException {
        page.clear();
        long data = table.getLong(table.position() + 8);
        if (data == NO_DATA) {
            return false;
        }
        read(file, channel, page, (data + done) * PAGE);
        return true;
    }

    void next() {
        done++;
        if (done >= Integer.toUnsignedLong(table.getInt(table.position() + 16))) {
            table.position(table.position() + ENTRY);
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
