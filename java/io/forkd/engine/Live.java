package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.ProcessWatch;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;

/**
 * What a service knows of the sandboxes that live: each is looked at once, and the kernel tells when its process has ended.
 * Their files remain the truth: what others write there is read again, and what others make is found when it is asked for.
 */
final class Live implements AutoCloseable {
    private static final Duration SLICE = Duration.ofMillis(200);

    private final ProcessWatch watch;
    private final Consumer<Sandbox> onEnd;
    private final Map<Path, Entry> entries = new ConcurrentHashMap<>();
    private final Map<Long, Sandbox> tokens = new ConcurrentHashMap<>(); // as each was when it was first seen
    private final AtomicLong next = new AtomicLong();
    private final Thread waiter = new Thread(this::await, "sandboxes");
    private volatile boolean closed;

    /** @param modified of the file that the sandbox was read from */
    private record Entry(Sandbox sandbox, FileTime modified, long token) {}

    /** @param onEnd hears of each that has ended, on a thread of its own */
    Live(ProcessWatch watch, Consumer<Sandbox> onEnd) {
        this.watch = watch;
        this.onEnd = onEnd;
        waiter.setDaemon(true);
        waiter.start();
    }

    /** One that was seen to answer. It is not kept when it has ended meanwhile, or nothing tells which process it is. */
    void add(Sandbox sandbox) {
        if (closed || sandbox.startTime().isEmpty() || has(sandbox)) {
            return;
        }
        try {
            Entry entry = new Entry(sandbox, modified(sandbox.directory()), next.getAndIncrement());
            tokens.put(entry.token(), sandbox);
            // Before its end can be told, which takes it out again. One that was paused and resumed may come before the
            // end of the process that it had.
            Entry now = entries.compute(
                    sandbox.directory(), (path, known) -> known != null && isSame(known, sandbox) ? known : entry);
            if (now.token() != entry.token() || !isWatched(entry)) {
                forget(entry.token());
            }
        } catch (IOException e) {
            // It has ended.
        }
    }

    /** One that has ended is not, nor is one too many: that is looked at each time. */
    private boolean isWatched(Entry entry) {
        try {
            return watch.add(entry.sandbox().pid(), entry.sandbox().startTime().orElseThrow(), entry.token());
        } catch (VmmException e) {
            return false;
        }
    }

    /** The sandbox of which that was the token. */
    private Optional<Sandbox> forget(long token) {
        Sandbox first = tokens.remove(token);
        if (first == null) {
            return Optional.empty();
        }
        List<Sandbox> last = new ArrayList<>(List.of(first));
        entries.computeIfPresent(first.directory(), (path, known) -> {
            if (known.token() != token) {
                return known;
            }
            last.set(0, known.sandbox());
            return null;
        });
        return Optional.of(last.get(0));
    }

    private static boolean isSame(Entry known, Sandbox sandbox) {
        return known.sandbox().process().equals(sandbox.process());
    }

    /** Whether the end of its process will be told. Nobody looks at its file. */
    boolean has(Sandbox sandbox) {
        Entry known = entries.get(sandbox.directory());
        return !closed && known != null && isSame(known, sandbox);
    }

    /** As its file says now; empty when it is not known to live. */
    Optional<Sandbox> find(Path directory) {
        Entry known = entries.get(directory);
        if (known == null || closed) {
            return Optional.empty();
        }
        try {
            FileTime modified = modified(directory);
            if (modified.equals(known.modified())) {
                return Optional.of(known.sandbox());
            }
            // One that has another process by now is looked at as one that nobody knows.
            Optional<Sandbox> now = Sandbox.read(directory).filter(sandbox -> isSame(known, sandbox));
            now.ifPresent(sandbox -> entries.replace(directory, known, new Entry(sandbox, modified, known.token())));
            return now;
        } catch (IOException | ForkdException e) {
            return Optional.empty(); // It is looked at as one that nobody knows.
        }
    }

    /** Its file was written. Of what is written in one tick of the clock, its time does not tell. */
    void changed(Path directory) {
        entries.computeIfPresent(
                directory, (path, known) -> new Entry(known.sandbox(), FileTime.fromMillis(0), known.token()));
    }

    private static FileTime modified(Path directory) throws IOException {
        return Files.getLastModifiedTime(Sandbox.file(directory));
    }

    private void await() {
        try {
            while (!closed) {
                OptionalLong ended = watch.await(SLICE);
                if (ended.isPresent()) {
                    forget(ended.getAsLong()).ifPresent(this::tell);
                }
            }
        } finally {
            closed = true; // Whatever ended this: nobody is told of an end any more, and all are looked at again.
        }
    }

    private void tell(Sandbox ended) {
        try {
            onEnd.accept(ended);
        } catch (RuntimeException e) {
            // What is left of it is the sweep's; nobody is kept from hearing of the next.
        }
    }

    @Override
    public void close() {
        closed = true;
        try {
            waiter.join();
            watch.close();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // The waiter still has it.
        }
    }
}
