package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;

/** A blob that is read where it lies: at its end it has to have the size and the digest that its manifest gives it. */
final class CheckedFile extends FilterInputStream {
    private final Descriptor blob;
    private final String what;
    private final MessageDigest hasher;
    private long done;
    private boolean checked;

    CheckedFile(InputStream in, Descriptor blob, String what) {
        super(in);
        this.blob = blob;
        this.what = what;
        this.hasher = blob.digest().hasher();
    }

    @Override
    public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] buffer, int offset, int wanted) throws IOException {
        int got = in.read(buffer, offset, wanted);
        if (got > 0) {
            done += got;
            hasher.update(buffer, offset, got);
        }
        if (done > blob.size()) {
            throw new ForkdException(
                    Kind.DAMAGED, what + " is longer than its manifest says (" + blob.size() + " bytes)");
        }
        if (got < 0 && !checked) {
            checked = true;
            if (done < blob.size()) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        what + " has " + done + " bytes, and its manifest says that it has " + blob.size());
            }
            if (!blob.digest().matches(hasher)) {
                throw new ForkdException(
                        Kind.DAMAGED, what + " has other content than its digest " + blob.digest() + " says");
            }
        }
        return got;
    }

    @Override
    public long skip(long count) throws IOException {
        return readNBytes((int) Math.min(count, 1 << 16)).length;
    }

    @Override
    public boolean markSupported() {
        return false;
    }
}
