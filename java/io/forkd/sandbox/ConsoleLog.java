package io.forkd.sandbox;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * The log of a guest's console, as it grows. Its writer cuts it when it is full: then it has a line that says so, and the
 * newer half of what it had. A reader goes on after what it has read, which it knows again by its last bytes. For one thread.
 */
public final class ConsoleLog implements AutoCloseable {
    /** By how many bytes the end of what was read is known again. */
    private static final int KNOWN = 256;

    private static final int PIECE = 64 << 10;

    private final FileChannel file;

    /** How much has been read, and what was last in it. */
    private long offset;

    private byte[] last = {};

    /** What was read is not where it was: the file is being cut, and is whole when it is looked at again. */
    private boolean cut;

    private ConsoleLog(FileChannel file) {
        this.file = file;
    }

    /**
     * Begins with the oldest that is there.
     *
     * @throws ForkdException when there is none
     */
    public static ConsoleLog open(String id, Path log) {
        try {
            return new ConsoleLog(FileChannel.open(log));
        } catch (NoSuchFileException e) {
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    "there is no log of the console of the sandbox '" + id
                            + "': it has ended, or was made by a forkd that kept none");
        } catch (IOException e) {
            throw ForkdException.of("read " + log, e);
        }
    }

    /** Leaves out all but the last lines. */
    public void skipToLast(long lines) throws IOException {
        long end = file.size();
        long left = lines;
        ByteBuffer piece = ByteBuffer.allocate(PIECE);
        offset = lines == 0 ? end : 0;
        long from = end;
        while (from > 0 && left > 0) {
            long to = from;
            from = Math.max(0, to - PIECE);
            piece.clear().limit((int) (to - from));
            int count = fill(piece, from);
            for (int i = count - 1; i >= 0 && left > 0; i--) {
                // The newline at the end ends the last line, and begins none.
                if (piece.get(i) == '\n' && from + i + 1 < end) {
                    left--;
                    offset = from + i + 1;
                }
            }
        }
        if (left > 0 && lines > 0) {
            offset = 0;
        }
        last = read(Math.max(0, offset - KNOWN), offset);
    }

    /** Copies what has come since. False when it has to be done again, a moment later. */
    public boolean copyTo(OutputStream out) throws IOException {
        if (!isWhereItWas()) {
            if (!cut) {
                cut = true;
                return false;
            }
            offset = afterKnown();
        }
        cut = false;
        ByteBuffer piece = ByteBuffer.allocate(PIECE);
        // No more than was there: a guest that never stops is told of in pieces, too.
        long end = file.size();
        while (offset < end) {
            piece.clear().limit((int) Math.min(PIECE, end - offset));
            int count = fill(piece, offset);
            if (count == 0) {
                break;
            }
            out.write(piece.array(), 0, count);
            offset += count;
            remember(piece.array(), count);
        }
        out.flush();
        return true;
    }

    private void remember(byte[] piece, int count) {
        byte[] all = Arrays.copyOf(last, last.length + count);
        System.arraycopy(piece, 0, all, last.length, count);
        last = Arrays.copyOfRange(all, Math.max(0, all.length - KNOWN), all.length);
    }

    private boolean isWhereItWas() throws IOException {
        return file.size() >= offset && Arrays.equals(read(offset - last.length, offset), last);
    }

    /** Behind the last place with those bytes; the beginning, where there is none. In one pass, whatever a guest has written. */
    private long afterKnown() throws IOException {
        int[] shorter = new int[last.length];
        for (int i = 1, matched = 0; i < last.length; i++) {
            while (matched > 0 && last[i] != last[matched]) {
                matched = shorter[matched - 1];
            }
            matched += last[i] == last[matched] ? 1 : 0;
            shorter[i] = matched;
        }
        long found = 0;
        int matched = 0;
        ByteBuffer piece = ByteBuffer.allocate(PIECE);
        long at = 0;
        for (int count = fill(piece, 0); count > 0 && last.length > 0; count = fill(piece.clear(), at)) {
            for (int i = 0; i < count; i++) {
                while (matched > 0 && piece.get(i) != last[matched]) {
                    matched = shorter[matched - 1];
                }
                matched += piece.get(i) == last[matched] ? 1 : 0;
                if (matched == last.length) {
                    found = at + i + 1;
                    matched = shorter[matched - 1];
                }
            }
            at += count;
        }
        return found;
    }

    private byte[] read(long from, long to) throws IOException {
        ByteBuffer bytes = ByteBuffer.allocate((int) (to - from));
        return Arrays.copyOf(bytes.array(), fill(bytes, from));
    }

    /** As much as there is, up to the buffer's limit. */
    private int fill(ByteBuffer into, long from) throws IOException {
        int count = 0;
        while (into.hasRemaining()) {
            int more = file.read(into, from + count);
            if (more <= 0) {
                break;
            }
            count += more;
        }
        return count;
    }

    @Override
    public void close() {
        try {
            file.close();
        } catch (IOException e) {
            throw ForkdException.of("close the log of a console", e);
        }
    }
}
