package io.forkd.hub;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.BitSet;

/** Which pages a snapshot's file {@code working-set} names; docs/formats.md has the format. */
final class WorkingSetPages {
    private static final byte[] MAGIC = "FORKDWST".getBytes(StandardCharsets.US_ASCII);
    private static final int HEADER = 32;
    private static final int RANGE = 16;

    /** docs/formats.md. */
    static final int MOST_BYTES = HEADER + 65536 * RANGE;

    private WorkingSetPages() {}

    /** Whatever is wrong with it makes it name less: it only says what is fetched first. */
    static BitSet of(byte[] file, long memoryPages) {
        BitSet pages = new BitSet();
        if (file.length < HEADER || !Arrays.equals(file, 0, MAGIC.length, MAGIC, 0, MAGIC.length)) {
            return pages;
        }
        ByteBuffer ranges = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = HEADER; at + RANGE <= file.length; at += RANGE) {
            long first = ranges.getLong(at);
            long end = first + Integer.toUnsignedLong(ranges.getInt(at + Long.BYTES));
            if (first < 0 || end > memoryPages || end < first) {
                return pages;
            }
            pages.set((int) first, (int) end);
        }
        return pages;
    }
}
