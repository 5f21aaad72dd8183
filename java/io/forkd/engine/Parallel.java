package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Function;

/** Asks many at once: each may take a second to be found silent, and all of them no longer than one. */
public final class Parallel {
    private static final int THREADS = 256;

    private Parallel() {}

    /** In the order of {@code items}. */
    public static <T, R> List<R> map(List<T> items, Function<T, R> function) {
        if (items.size() < 2) {
            return items.stream().map(function).toList();
        }
        ExecutorService workers = Executors.newFixedThreadPool(Math.min(items.size(), THREADS));
        try {
            List<Future<R>> futures = new ArrayList<>();
            for (T item : items) {
                futures.add(workers.submit(() -> function.apply(item)));
            }
            List<R> results = new ArrayList<>();
            for (Future<R> future : futures) {
                results.add(future.get());
            }
            return results;
        } catch (ExecutionException e) {
            throw e.getCause() instanceof RuntimeException cause ? cause : new IllegalStateException(e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        } finally {
            workers.shutdownNow();
        }
    }
}
