package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.image.Work;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Writes the files of an artifact into a folder, from chunks that this machine or the registry has. Which are there is
 * noted in the folder, so that another one goes on where this ended; whatever it finds is checked before it is believed.
 */
final class ChunkFetcher implements AutoCloseable {
    /** Numbers of chunks that have been written to all their places, four bytes each. */
    static final String JOURNAL = "done";

    /** What is written at a time, or left out when it is zero: a page. */
    private static final int BLOCK = 4096;

    /**
     * Where a chunk goes.
     *
     * @param empty whether the file has had nothing in it before
     */
    private record Place(FileChannel file, long offset, boolean empty) {
        void write(byte[] content) throws IOException {
            int from = 0;
            while (from < content.length) {
                int to = end(content, from);
                if (!empty || !isZero(content, from, Math.min(from + BLOCK, content.length))) {
                    ByteBuffer bytes = ByteBuffer.wrap(content, from, to - from);
                    while (bytes.hasRemaining()) {
                        file.write(bytes, offset + bytes.position());
                    }
                }
                from = to;
            }
        }

        /** Of the blocks from there on that are all zero, or all not; or of all, where that does not matter. */
        private int end(byte[] content, int from) {
            if (!empty) {
                return content.length;
            }
            boolean zero = isZero(content, from, Math.min(from + BLOCK, content.length));
            int to = from;
            while (to < content.length && isZero(content, to, Math.min(to + BLOCK, content.length)) == zero) {
                to = Math.min(to + BLOCK, content.length);
            }
            return to;
        }

        private static boolean isZero(byte[] content, int from, int to) {
            return content[from] == 0 && Arrays.equals(content, from + 1, to, content, from, to - 1);
        }
    }

    private final ChunkSource source;
    private final Work work;
    private final Path folder;
    private final List<Chunk> chunks;
    private final List<FileChannel> open = new ArrayList<>();
    private final Map<Integer, List<Place>> places = new HashMap<>();
    private final BitSet done = new BitSet();
    private final FileChannel journal;

    ChunkFetcher(ChunkSource source, Path folder, List<Chunk> chunks, Work work) {
        this.source = source;
        this.folder = folder;
        this.chunks = chunks;
        this.work = work;
        Path file = folder.resolve(JOURNAL);
        try {
            readJournal(file);
            this.journal = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }

    /** What was cut short in the midst of a number counts for nothing. */
    private void readJournal(Path file) throws IOException {
        try {
            ByteBuffer numbers = ByteBuffer.wrap(Files.readAllBytes(file));
            while (numbers.remaining() >= Integer.BYTES) {
                int number = numbers.getInt();
                if (number >= 0 && number < chunks.size()) {
                    done.set(number);
                }
            }
            if (numbers.hasRemaining()) {
                Files.delete(file);
                done.clear();
            }
        } catch (NoSuchFileException e) {
            // Nothing has been done.
        }
    }

    /** A file is wanted: it is there from now on, of its size and empty where it has no content yet. */
    void want(ChunkedFile file, String name) {
        Path path = folder.resolve(name);
        try {
            FileChannel channel = FileChannel.open(
                    path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
            open.add(channel);
            boolean empty = channel.size() == 0;
            if (channel.size() != file.bytes()) {
                channel.truncate(file.bytes());
                if (file.bytes() > channel.size()) {
                    channel.write(ByteBuffer.wrap(new byte[1]), file.bytes() - 1);
                }
            }
            for (int i = 0; i < file.chunks().size(); i++) {
                int number = file.chunks().get(i);
                if (number != ChunkedFile.ZERO) {
                    places.computeIfAbsent(number, none -> new ArrayList<>())
                            .add(new Place(channel, file.offset(i), empty));
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + path, e);
        }
    }

    /** Bytes that would have to be asked the registry for, as far as is known; those of this machine count too. */
    long missing() {
        return places.keySet().stream()
                .filter(number -> !done.get(number))
                .mapToLong(number -> chunks.get(number).size())
                .sum();
    }

    /** Bytes that are still to be written. */
    long missingContent() {
        return places.entrySet().stream()
                .filter(wanted -> !done.get(wanted.getKey()))
                .mapToLong(wanted -> (long) chunks.get(wanted.getKey()).bytes()
                        * wanted.getValue().size())
                .sum();
    }

    /** Has everything that is wanted be there. */
    void fetch(String step) {
        checkDone();
        work.begin(step, missing());
        try (Workers workers = new Workers(work)) {
            for (int number = 0; number < chunks.size(); number++) {
                List<Place> wanted = places.get(number);
                if (wanted == null || done.get(number)) {
                    continue;
                }
                int which = number;
                workers.give(chunks.get(number).bytes(), () -> bring(which, wanted));
            }
            workers.finish();
        }
        try {
            for (FileChannel file : open) {
                file.force(true);
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + folder, e);
        }
    }

    /** What an earlier pull noted may not have reached the disk when the machine stopped. */
    private void checkDone() {
        for (int number = done.nextSetBit(0); number >= 0; number = done.nextSetBit(number + 1)) {
            Chunk chunk = chunks.get(number);
            for (Place place : places.getOrDefault(number, List.of())) {
                work.check();
                if (chunk.in(place.file(), place.offset()).isEmpty()) {
                    done.clear(number);
                }
            }
        }
    }

    private void bring(int number, List<Place> wanted) {
        Chunk chunk = chunks.get(number);
        byte[] content = source.content(chunk);
        try {
            for (Place place : wanted) {
                place.write(content);
            }
            synchronized (this) {
                ByteBuffer note =
                        ByteBuffer.allocate(Integer.BYTES).putInt(number).flip();
                journal.write(note);
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + folder, e);
        }
        work.advance(chunk.size());
    }

    @Override
    public void close() {
        try {
            for (FileChannel file : open) {
                file.close();
            }
            journal.close();
        } catch (IOException e) {
            // All that counts has been forced.
        }
    }
}
