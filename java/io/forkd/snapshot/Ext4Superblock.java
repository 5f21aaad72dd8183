package io.forkd.snapshot;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Optional;

/**
 * What the superblock of an ext4 image (or ext2, ext3) tells somebody who is about to mount it; the kernel's
 * Documentation/filesystems/ext4/super.rst has the layout.
 *
 * @param bytes size of the file system
 * @param needsRecovery whether it is mounted for writing at this moment, or was when its writer died: only a mount that
 *     may write can set that right
 */
record Ext4Superblock(long bytes, boolean needsRecovery) {
    private static final int OFFSET = 1024;
    private static final int SIZE = 1024;

    private static final int BLOCKS = 0x4;
    private static final int LOG_BLOCK_SIZE = 0x18;
    private static final int MAGIC = 0x38;
    private static final int STATE = 0x3a;
    private static final int INCOMPATIBLE = 0x60;
    private static final int BLOCKS_HIGH = 0x150;

    private static final short EXT4 = (short) 0xef53;
    private static final int CLEAN = 0x1;
    private static final int RECOVER = 0x4;
    private static final int WIDE = 0x80;

    /** Block sizes are 1 KiB to 64 KiB. */
    private static final int LOG_BLOCK_SIZE_MAX = 6;

    /** Empty when there is no such file system on the image. */
    static Optional<Ext4Superblock> read(Path image) throws IOException {
        ByteBuffer block = ByteBuffer.allocate(SIZE).order(ByteOrder.LITTLE_ENDIAN);
        try (FileChannel channel = FileChannel.open(image, StandardOpenOption.READ)) {
            int count;
            do {
                count = channel.read(block, OFFSET + block.position());
            } while (count > 0);
        }
        int logBlockSize = block.getInt(LOG_BLOCK_SIZE);
        if (block.hasRemaining()
                || block.getShort(MAGIC) != EXT4
                || logBlockSize < 0
                || logBlockSize > LOG_BLOCK_SIZE_MAX) {
            return Optional.empty();
        }
        int features = block.getInt(INCOMPATIBLE);
        long blocks = Integer.toUnsignedLong(block.getInt(BLOCKS))
                | ((features & WIDE) != 0 ? (long) block.getInt(BLOCKS_HIGH) << 32 : 0);
        long most = Long.MAX_VALUE >> (10 + logBlockSize);
        if (blocks <= 0 || blocks > most) {
            return Optional.empty();
        }
        boolean needsRecovery = (features & RECOVER) != 0 || (block.getShort(STATE) & CLEAN) == 0;
        return Optional.of(new Ext4Superblock(blocks << (10 + logBlockSize), needsRecovery));
    }
}
