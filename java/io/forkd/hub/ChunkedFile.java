package io.forkd.hub;

import java.util.List;

/**
 * A file, cut into pieces of one size, of which the last may be shorter.
 *
 * @param name within what it belongs to
 * @param bytes of the file
 * @param piece bytes of a piece
 * @param chunks a number for each piece: which of the artifact's chunks it is, or {@link #ZERO}
 */
record ChunkedFile(String name, long bytes, int piece, List<Integer> chunks) {
    /** All of it is zero, and it is not sent. */
    static final int ZERO = -1;

    private static final int LEAST_PIECE = 256 << 10;
    static final int MOST_PIECE = 16 << 20;

    /** So that no file has more: an artifact's documents name each. */
    private static final int MOST_PIECES = 4096;

    ChunkedFile {
        chunks = List.copyOf(chunks);
    }

    /** How large the pieces of a file are: a power of two that depends on its size alone, so that versions of it have the same. */
    static int pieceOf(long bytes) {
        int piece = LEAST_PIECE;
        while (piece < MOST_PIECE && bytes / piece > MOST_PIECES) {
            piece *= 2;
        }
        return piece;
    }

    static boolean isPiece(int piece) {
        return piece >= LEAST_PIECE && piece <= MOST_PIECE && Integer.bitCount(piece) == 1;
    }

    static long pieces(long bytes, int piece) {
        return (bytes + piece - 1) / piece;
    }

    /** Bytes of those pieces that are not all zero. */
    long content() {
        long sum = 0;
        for (int i = 0; i < chunks.size(); i++) {
            sum += chunks.get(i) == ZERO ? 0 : length(i);
        }
        return sum;
    }

    long offset(int index) {
        return (long) index * piece;
    }

    /** Of the piece with that number. */
    int length(int index) {
        return (int) Math.min(piece, bytes - offset(index));
    }
}
