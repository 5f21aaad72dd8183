package io.forkd.rootfs;

import java.util.Map;

/**
 * A member of a layer's archive, as it stands there.
 *
 * @param name in bytes, see {@link Names}
 * @param mode permissions, without the type
 * @param link where a link leads
 * @param size of a file's content
 * @param xattrs extended attributes by names
 */
record Member(
        String name,
        Type type,
        int mode,
        long uid,
        long gid,
        long mtimeSeconds,
        int mtimeNanos,
        String link,
        long size,
        int major,
        int minor,
        Map<String, byte[]> xattrs) {
    enum Type {
        FILE(0100000),
        DIRECTORY(0040000),
        SYMLINK(0120000),
        CHARACTER_DEVICE(0020000),
        BLOCK_DEVICE(0060000),
        FIFO(0010000),
        HARD_LINK(0);

        /** Its bits in a mode. */
        private final int bits;

        Type(int bits) {
            this.bits = bits;
        }

        int bits() {
            return bits;
        }
    }
}
