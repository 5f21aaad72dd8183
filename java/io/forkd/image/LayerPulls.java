package io.forkd.image;

import java.io.IOException;
import java.io.InputStream;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * Pulls layers into the cache, a few at a time, and does what else waits for a registry: on threads of its own, so that who
 * waits for them hears at once that it is not wanted any more.
 */
final class LayerPulls implements AutoCloseable {
    private static final int PARALLEL = 4;
    private static final int STOP_SECONDS = 2;

    private final BlobStore store;
    private final Work work;
    private final ExecutorService threads = Executors.newFixedThreadPool(PARALLEL, task -> {
        Thread thread = new Thread(task, "fetch");
        thread.setDaemon(true);
        return thread;
    });

    LayerPulls(BlobStore store, Work work) {
        this.store = store;
        this.work = work;
    }

    /** Does that, which asks a registry. */
    <T> T ask(Supplier<T> question) {
        return work.await(CompletableFuture.supplyAsync(question, threads));
    }

    /** A layer that is pulled when it is wanted, unless it is here. */
    Layer layer(Descriptor blob, Digest content, String name, BlobStore.Source source) {
        return new PulledLayer(blob, content, name, source);
    }

    /**
     * Ends what is still being fetched and waits until it has removed what it had: of a failed pull nothing is left.
     * Only a server without TLS that stops in the middle may keep one for longer; that one's directory goes at the next
     * pull.
     */
    @Override
    public void close() {
        threads.shutdownNow();
        try {
            threads.awaitTermination(STOP_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private final class PulledLayer implements Layer {
        private final Descriptor blob;
        private final Digest content;
        private final String name;
        private final BlobStore.Source source;
        private Optional<CompletableFuture<Void>> fetched = Optional.empty();

        PulledLayer(Descriptor blob, Digest content, String name, BlobStore.Source source) {
            this.blob = blob;
            this.content = content;
            this.name = name;
            this.source = source;
        }

        @Override
        public Digest content() {
            return content;
        }

        @Override
        public String name() {
            return name;
        }

        @Override
        public synchronized void fetch() {
            if (fetched.isEmpty()) {
                fetched = Optional.of(
                        store.has(blob)
                                ? CompletableFuture.completedFuture(null)
                                : CompletableFuture.runAsync(() -> store.fetch(blob, source, name, work), threads));
            }
        }

        @Override
        public void await() {
            work.await(fetching());
        }

        private synchronized CompletableFuture<Void> fetching() {
            fetch();
            return fetched.orElseThrow();
        }

        @Override
        public InputStream open() throws IOException {
            await();
            return store.open(blob.digest());
        }

        @Override
        public void discard() {
            store.forget(blob.digest());
        }
    }
}
