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
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.function.IntConsumer;

/**
 * Writes the files of an artifact into a folder, from chunks that this machine or the registry has. Which are there is
 * noted in the folder, so that another one goes on where this ended; whatever it finds is checked before it is believed.
 */
final class ChunkFetcher implements AutoCloseable {
    /** Numbers of chunks that have been written to all their places, four bytes each. */
    static final String JOURNAL = "done";

    /** Of chunks that are fetched at a time since somebody waits for them. */
    private static final int URGENT = 2;

    private static final BitSet NONE = new BitSet();

    /** What is written at a time, or left out when it is zero: a page. */
    private static final int BLOCK = 4096;

    /**
     * Where a chunk goes.
     *
     * @param empty whether the file has had nothing in it before
     * @param covered pages of the file that have something else, and keep it
     */
    private record Place(FileChannel file, long offset, boolean empty, BitSet covered) {
        void write(byte[] content) throws IOException {
            int from = 0;
            while (from < content.length) {
                int to = end(content, from);
                if (isCovered(from)) {
                    from = to;
                    continue;
                }
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
            boolean covering = isCovered(from);
            int to = from;
            while (to < content.length
                    && isCovered(to) == covering
                    && isZero(content, to, Math.min(to + BLOCK, content.length)) == zero) {
                to = Math.min(to + BLOCK, content.length);
            }
            return to;
        }

        private boolean isCovered(int from) {
            return !covered.isEmpty() && covered.get((int) ((offset + from) / BLOCK));
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
    private final BitSet begun = new BitSet();
    private final FileChannel journal;
    private final ExecutorService urgent = Workers.threads(URGENT, "forkd-urgent");
    private int awaited; // chunks that somebody waits for
    private Optional<RuntimeException> failure = Optional.empty();
    private IntConsumer arrived = number -> {};

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
                            .add(new Place(channel, file.offset(i), empty, NONE));
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + path, e);
        }
    }

    /** Writes the chunks of a file to another one as well, from now on, but for the pages that are {@code covered}. */
    void also(ChunkedFile file, Path to, BitSet covered) {
        try {
            FileChannel channel = FileChannel.open(to, StandardOpenOption.WRITE);
            open.add(channel);
            for (int i = 0; i < file.chunks().size(); i++) {
                List<Place> wanted = places.get(file.chunks().get(i));
                if (wanted != null) {
                    wanted.add(new Place(channel, file.offset(i), true, covered));
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + to, e);
        }
    }

    /** From now on somebody hears which chunks have come, on whatever thread that is. */
    void onArrival(IntConsumer listener) {
        arrived = listener;
    }

    synchronized boolean has(int number) {
        return number == ChunkedFile.ZERO || done.get(number);
    }

    /** Those that are wanted and not there, in the order of the artifact. */
    synchronized List<Integer> all() {
        return places.keySet().stream()
                .filter(number -> !done.get(number))
                .sorted()
                .toList();
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
        work.begin(step, missing());
        fetch(all());
        sync();
    }

    /** Has these be there, in their order, and what {@link #demand} asks for first. */
    void fetch(List<Integer> numbers) {
        try (Workers workers = new Workers(work)) {
            for (int number : numbers) {
                awaitUrgent();
                if (begin(number)) {
                    workers.give(chunks.get(number).bytes(), () -> bring(number));
                }
            }
            workers.finish();
        }
        awaitUrgent();
    }

    /** Somebody waits for it. */
    synchronized void demand(int number) {
        if (number == ChunkedFile.ZERO || urgent.isShutdown() || !begin(number)) {
            return; // What is zero is there, which who asks has not heard yet.
        }
        awaited++;
        urgent.execute(() -> {
            try {
                bring(number);
                urgentDone(Optional.empty());
            } catch (RuntimeException e) {
                urgentDone(Optional.of(e));
            } catch (OutOfMemoryError e) {
                urgentDone(Optional.of(new ForkdException(ForkdException.Kind.FAILED, "memory has run out")));
            }
        });
    }

    private synchronized void urgentDone(Optional<RuntimeException> failed) {
        awaited--;
        if (failure.isEmpty()) {
            failure = failed;
        }
        notifyAll();
    }

    /** What nobody waits for yet is not to take the line from what somebody does. */
    private synchronized void awaitUrgent() {
        try {
            while (awaited > 0 && failure.isEmpty()) {
                wait(100);
                work.check();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(ForkdException.Kind.FAILED, "interrupted");
        }
        failure.ifPresent(e -> {
            throw e;
        });
    }

    private synchronized boolean begin(int number) {
        if (done.get(number) || begun.get(number)) {
            return false;
        }
        begun.set(number);
        return true;
    }

    private void sync() {
        try {
            for (FileChannel file : open) {
                file.force(true);
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + folder, e);
        }
    }

    /**
     * Finds out what is there of what is wanted: what an earlier pull noted may not have reached the disk when the machine
     * stopped. To be called once, before anything is fetched.
     */
    void look() {
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

    private void bring(int number) {
        Chunk chunk = chunks.get(number);
        byte[] content = source.content(chunk);
        try {
            for (Place place : places.getOrDefault(number, List.of())) {
                place.write(content);
            }
            synchronized (this) {
                ByteBuffer note =
                        ByteBuffer.allocate(Integer.BYTES).putInt(number).flip();
                journal.write(note);
                done.set(number);
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + folder, e);
        }
        arrived.accept(number);
        work.advance(chunk.size());
    }

    @Override
    public void close() {
        synchronized (this) {
            urgent.shutdownNow();
        }
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
