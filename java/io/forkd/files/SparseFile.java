package io.forkd.files;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Set;

/** A new file, whose pages of zeroes are holes. */
public final class SparseFile {
    private static final int PAGE = 4096;
    private static final int CHUNK = 64 * PAGE;
    private static final byte[] ZEROES = new byte[CHUNK];

    private SparseFile() {}

    /** Writes all that comes, and waits until it is on the disk. */
    public static void write(InputStream content, Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file, Set.of(CREATE_NEW, WRITE), Trees.PRIVATE_FILE)) {
            byte[] chunk = new byte[CHUNK];
            long at = 0;
            int count;
            while ((count = content.readNBytes(chunk, 0, CHUNK)) > 0) {
                for (int page = 0; page < count; page += PAGE) {
                    int end = Math.min(count, page + PAGE);
                    if (!Arrays.equals(chunk, page, end, ZEROES, page, end)) {
                        write(channel, ByteBuffer.wrap(chunk, page, end - page), at + page);
                    }
                }
                at += count;
            }
            if (channel.size() < at) {
                write(channel, ByteBuffer.allocate(1), at - 1);
            }
            channel.force(true);
        }
    }

    /** Gives a file another name, which may be on another file system: Java would fill its holes there. */
    public static void move(Path from, Path to) throws IOException {
        try {
            Files.move(from, to, ATOMIC_MOVE);
        } catch (AtomicMoveNotSupportedException e) {
            try (InputStream in = Files.newInputStream(from)) {
                write(in, to);
            }
            Files.delete(from);
        }
    }

    private static void write(FileChannel channel, ByteBuffer bytes, long at) throws IOException {
        long position = at;
        while (bytes.hasRemaining()) {
            position += channel.write(bytes, position);
        }
    }
}
