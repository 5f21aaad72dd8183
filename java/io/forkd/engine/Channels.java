package io.forkd.engine;

import io.forkd.sandbox.Origin;
import io.forkd.sandbox.ProcessId;
import io.forkd.sandbox.RunningServer;
import io.forkd.vmm.ChildOptions;
import io.forkd.vmm.ForkServer;
import io.forkd.vmm.ServerStatus;
import io.forkd.vmm.Vm;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * Channels to fork servers, as a service keeps them from one operation to the next: to open one, the server has to be
 * waited for twice as often as for a child. For a moment only: a server that somebody has a channel to is not idle.
 */
final class Channels implements AutoCloseable {
    /** As many operations at a time as use one server keep theirs. */
    private static final int MOST = 16;

    /** Those that nobody uses, the one that was used last first. Guarded by this. */
    private final Map<Origin, Deque<Channel>> idle = new HashMap<>();

    private final Duration kept;
    private boolean closed;

    /** @param kept how long one is that nobody uses */
    Channels(Duration kept) {
        this.kept = kept;
    }

    /** A channel, which closing it keeps for the next, unless something has failed on it. For one thread at a time. */
    final class Channel implements ForkServer {
        private final RunningServer of;
        private final ProcessId.Watched process;
        private final ForkServer server;
        private boolean failed;
        private long unusedSince;

        private Channel(RunningServer of, ProcessId.Watched process, ForkServer server) {
            this.of = of;
            this.process = process;
            this.server = server;
        }

        RunningServer of() {
            return of;
        }

        @Override
        public Vm fork(ChildOptions options) {
            return noting(() -> server.fork(options));
        }

        @Override
        public ServerStatus status() {
            return noting(server::status);
        }

        @Override
        public boolean awaitWritten(Duration timeout) {
            return noting(() -> server.awaitWritten(timeout));
        }

        private <T> T noting(Supplier<T> request) {
            boolean done = false;
            try {
                T result = request.get();
                done = true;
                return result;
            } finally {
                failed |= !done;
            }
        }

        @Override
        public void close() {
            if (failed || !keep(this)) {
                end();
            }
        }

        private void end() {
            server.close();
            process.close();
        }
    }

    /** A new one, as far as it is known which process is at its other end. */
    ForkServer opened(RunningServer of, ForkServer server) {
        return of.process()
                .flatMap(ProcessId::watch)
                .<ForkServer>map(process -> new Channel(of, process, server))
                .orElse(server);
    }

    /** One that was kept, to the snapshot's server, which lives and is not stopped. */
    Optional<Channel> take(Origin snapshot) {
        while (true) {
            Channel channel;
            synchronized (this) {
                Deque<Channel> all = idle.get(snapshot);
                channel = all == null ? null : all.poll();
            }
            if (channel == null) {
                return Optional.empty();
            }
            if (channel.process.isRunning()) {
                return Optional.of(channel);
            }
            channel.end();
        }
    }

    private synchronized boolean keep(Channel channel) {
        Deque<Channel> all = idle.computeIfAbsent(channel.of.snapshot(), snapshot -> new ArrayDeque<>());
        if (closed || all.size() >= MOST) {
            return false;
        }
        channel.unusedSince = System.nanoTime();
        all.push(channel);
        return true;
    }

    /** Closes those that nobody has used for a while. */
    void closeUnused() {
        long now = System.nanoTime();
        closeAll(now - kept.toNanos());
    }

    private void closeAll(long unusedBefore) {
        List<Channel> closing = new ArrayList<>();
        synchronized (this) {
            for (Deque<Channel> all : idle.values()) {
                while (!all.isEmpty() && all.peekLast().unusedSince - unusedBefore <= 0) {
                    closing.add(all.removeLast());
                }
            }
            idle.values().removeIf(Deque::isEmpty);
        }
        closing.forEach(Channel::end);
    }

    @Override
    public void close() {
        synchronized (this) {
            closed = true;
        }
        closeAll(System.nanoTime());
    }
}
