package io.forkd.daemon.e2b;

import io.forkd.agent.GuestInput;
import io.forkd.agent.GuestProcess.Exit;
import io.forkd.agent.GuestProcess.Position;
import io.forkd.agent.ProcessName;
import java.time.Duration;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * What has to be known of processes beyond what their guests tell: how far somebody has heard one, how it ended when the
 * guest has forgotten it, and the input that is open. All of it is as good as lost when the daemon ends, and is less than
 * a guest can have of it when there is too much.
 */
final class ProcessMemory {
    /** How long the end of one is kept at least; so long E2B's clients may take to ask for it. */
    private static final long KEPT = Duration.ofMinutes(1).toNanos();

    private static final int MOST_SANDBOXES = 4096;
    private static final int MOST_OF_SANDBOX = 256;

    /** In characters; no guest has a longer one that does not lie. */
    private static final int MOST_TAG = 128;

    /** Of one process; guarded by the memory. */
    private static final class Heard {
        private final Optional<String> tag;
        private Position position;
        private Optional<Exit> exit = Optional.empty();
        private long ended;
        private boolean inputOver;

        private Heard(Optional<String> tag, Position position) {
            this.tag = tag;
            this.position = position;
        }
    }

    /** One that has ended. */
    record Ended(long pid, Exit exit) {}

    /** The oldest goes when there are too many. */
    private static final class Bounded<K, V> extends LinkedHashMap<K, V> {
        private static final long serialVersionUID = 1;

        private final int most;

        private Bounded(int most) {
            super(16, 0.75f, true);
            this.most = most;
        }

        @Override
        protected boolean removeEldestEntry(Map.Entry<K, V> eldest) {
            return size() > most;
        }
    }

    private record Key(String sandbox, ProcessName name) {}

    private final Map<String, Map<Long, Heard>> sandboxes = new Bounded<>(MOST_SANDBOXES);
    private final Map<Key, GuestInput> inputs = new HashMap<>();

    private Optional<Heard> find(String sandbox, long pid) {
        return Optional.ofNullable(sandboxes.get(sandbox)).map(processes -> processes.get(pid));
    }

    /** Somebody listens from there. */
    synchronized void begin(String sandbox, long pid, Optional<String> tag, Position position, boolean isNew) {
        Map<Long, Heard> processes = sandboxes.computeIfAbsent(sandbox, id -> new Bounded<>(MOST_OF_SANDBOX));
        if (isNew || processes.get(pid) == null) {
            processes.put(pid, new Heard(tag.filter(name -> name.length() <= MOST_TAG), position));
        }
    }

    /** Somebody has been told everything up to there. */
    synchronized void heard(String sandbox, long pid, Position at) {
        find(sandbox, pid)
                .ifPresent(process -> process.position = new Position(
                        Math.max(process.position.stdout(), at.stdout()),
                        Math.max(process.position.stderr(), at.stderr())));
    }

    synchronized void ended(String sandbox, long pid, Exit exit) {
        find(sandbox, pid).ifPresent(process -> {
            process.exit = Optional.of(exit);
            process.ended = System.nanoTime();
        });
    }

    /** What nobody has been told yet begins there. */
    synchronized Optional<Position> position(String sandbox, ProcessName name) {
        return Optional.ofNullable(sandboxes.get(sandbox)).stream()
                .flatMap(processes -> processes.entrySet().stream())
                .filter(entry -> is(entry.getKey(), entry.getValue(), name)
                        && entry.getValue().exit.isEmpty())
                .map(entry -> entry.getValue().position)
                .reduce((first, last) -> last);
    }

    synchronized Optional<Ended> end(String sandbox, ProcessName name) {
        return Optional.ofNullable(sandboxes.get(sandbox)).stream()
                .flatMap(processes -> processes.entrySet().stream())
                .filter(entry -> is(entry.getKey(), entry.getValue(), name)
                        && entry.getValue().exit.isPresent()
                        && System.nanoTime() - entry.getValue().ended < KEPT)
                .map(entry -> new Ended(entry.getKey(), entry.getValue().exit.orElseThrow()))
                .reduce((first, last) -> last);
    }

    private static boolean is(long pid, Heard process, ProcessName name) {
        if (name instanceof ProcessName.Tag wanted) {
            return process.tag.filter(wanted.tag()::equals).isPresent();
        }
        return name.equals(new ProcessName.Pid(pid));
    }

    synchronized void endInput(String sandbox, long pid) {
        begin(sandbox, pid, Optional.empty(), Position.START, false);
        find(sandbox, pid).ifPresent(process -> process.inputOver = true);
    }

    synchronized boolean isInputOver(String sandbox, long pid) {
        return find(sandbox, pid).filter(process -> process.inputOver).isPresent();
    }

    synchronized Optional<GuestInput> input(String sandbox, ProcessName name) {
        return Optional.ofNullable(inputs.get(new Key(sandbox, name)));
    }

    /** The one that is kept: of two who open one at a time, the first one's. */
    synchronized GuestInput keep(String sandbox, ProcessName name, GuestInput input) {
        return Optional.ofNullable(inputs.putIfAbsent(new Key(sandbox, name), input))
                .orElse(input);
    }

    synchronized void forget(String sandbox, ProcessName name, GuestInput input) {
        inputs.remove(new Key(sandbox, name), input);
    }
}
