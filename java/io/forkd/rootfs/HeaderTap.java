package io.forkd.rootfs;

import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;

/**
 * Lets an archive through and keeps what is read while headers are: the tar reader turns PAX values into text, and an
 * extended attribute's value is none. It limits headers, too, which have to fit into memory.
 */
final class HeaderTap extends FilterInputStream {
    private static final int MAX_HEADER_BYTES = 4 << 20;

    private final byte[] skipped = new byte[8192];
    private byte[] kept = new byte[4096];
    private int length;
    private boolean keeping;

    HeaderTap(InputStream in) {
        super(in);
    }

    void start() {
        length = 0;
        keeping = true;
    }

    void stop() {
        keeping = false;
    }

    byte[] kept() {
        return kept;
    }

    int length() {
        return length;
    }

    @Override
    public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    /** Less than is wanted only at the end: the tar reader takes less for the end of a part of a sparse file. */
    @Override
    public int read(byte[] buffer, int offset, int wanted) throws IOException {
        int got = in.readNBytes(buffer, offset, wanted);
        if (got == 0 && wanted > 0) {
            return -1;
        }
        if (keeping && got > 0) {
            if (length + got > MAX_HEADER_BYTES) {
                throw new BadLayerException("its headers are larger than 4 MiB");
            }
            if (length + got > kept.length) {
                kept = java.util.Arrays.copyOf(kept, Math.max(2 * kept.length, length + got));
            }
            System.arraycopy(buffer, offset, kept, length, got);
            length += got;
        }
        return got;
    }

    @Override
    public long skip(long count) throws IOException {
        long done = 0;
        while (done < count) {
            int got = read(skipped, 0, (int) Math.min(skipped.length, count - done));
            if (got < 0) {
                break;
            }
            done += got;
        }
        return done;
    }

    @Override
    public boolean markSupported() {
        return false;
    }
}
