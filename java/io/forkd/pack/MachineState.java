package io.forkd.pack;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;

/** Whose a {@code vmstate} is, by its first bytes; docs/formats.md has forkd's. */
public enum MachineState {
    /** Of a version that this forkd restores. */
    FORKD("forkd"),
    /** Of a later one. */
    NEWER("newer"),
    /** The published packs have it: the states of two monitors are of different devices, and none can be made the other. */
    FIRECRACKER("firecracker"),
    UNKNOWN("unknown");

    /** So much of it decides. */
    public static final int HEADER = 32;

    private static final long FORKD_MAGIC = ByteBuffer.wrap("FORKDVMS".getBytes(StandardCharsets.US_ASCII))
            .order(ByteOrder.LITTLE_ENDIAN)
            .getLong();
    private static final int FORKD_VERSION = 1;
    private static final int CHECKSUM = 28;

    /** That of x86-64; the last two bytes have had other meanings. */
    private static final long FIRECRACKER_MAGIC = 0x0710_1984_8664L;

    private final String text;

    MachineState(String text) {
        this.text = text;
    }

    /**
     * Looks at the beginning of a file.
     *
     * @param start the first {@link #HEADER} bytes, or all that there are
     */
    public static MachineState of(byte[] start) {
        if (start.length < HEADER) {
            return UNKNOWN;
        }
        ByteBuffer header = ByteBuffer.wrap(start).order(ByteOrder.LITTLE_ENDIAN);
        if (header.getLong(0) >>> 16 == FIRECRACKER_MAGIC) {
            return FIRECRACKER;
        }
        CRC32C crc = new CRC32C();
        crc.update(start, 0, CHECKSUM);
        if (header.getLong(0) != FORKD_MAGIC || header.getInt(CHECKSUM) != (int) crc.getValue()) {
            return UNKNOWN;
        }
        return header.getInt(8) == FORKD_VERSION ? FORKD : NEWER;
    }

    /** The word for it in results. */
    public String text() {
        return text;
    }
}
