package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.agent.GuestChange;
import io.forkd.daemon.Guests;
import io.forkd.daemon.Guests.Open;
import io.forkd.daemon.e2b.FilesystemService.Watched;
import java.io.IOException;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** The watchers of {@code filesystem.Filesystem}: those that tell, and those that are asked. */
final class WatchService {
    /** Of what a watcher has to tell and was not asked for. */
    private static final int MOST_BYTES = 256 << 10;

    /** One that is not asked for so long is closed. */
    private static final Duration PATIENCE = Duration.ofMinutes(30);

    /** What is watched went away: so long it can be asked for what was the last. */
    private static final Duration LAST_WORDS = Duration.ofMinutes(1);

    private static final int ID_BYTES = 16;

    private final Map<String, Watcher> watchers = new ConcurrentHashMap<>();
    private final SecureRandom random = new SecureRandom();

    private static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    private static ConnectFailure lost() {
        return new ConnectFailure(
                Code.DATA_LOSS, "there were more changes than could be kept: look at all of it again");
    }

    // --- one that tells ---

    Connect.Told watchDir(EnvdCall call, Fields message) {
        return new Telling(call.open(guest -> FilesystemService.watch(call, guest, message)));
    }

    private record Telling(Open<Watched> open) implements Connect.Told {
        @Override
        public ObjectNode start() {
            return object().set("start", object());
        }

        @Override
        public boolean awaitNews(Duration time) {
            return open.stream().events().awaitNews(time);
        }

        @Override
        public boolean next(Connect.Frame out) throws IOException {
            Optional<GuestChange> next = open.stream().events().next();
            if (next.isEmpty()) {
                return false;
            }
            if (!(next.get() instanceof GuestChange.At change)) {
                throw lost();
            }
            for (Changes each : Changes.of(open.stream().root(), change)) {
                out.write(object().set("filesystem", each.json(open.stream().entries())));
            }
            return true;
        }

        @Override
        public ObjectNode keepalive() {
            return object().set("keepalive", object());
        }

        @Override
        public ConnectFailure failure(RuntimeException e) {
            return EnvdCall.failure(open, e);
        }

        @Override
        public void close() {
            open.close();
        }
    }

    // --- those that are asked ---

    /** One of them, and the thread that listens for it. */
    private final class Watcher {
        private final String sandbox;
        private final Open<Watched> open;

        // Guarded by this.
        private List<Changes> changes = new ArrayList<>();
        private int bytes;
        private boolean lost;
        private long asked = System.nanoTime();

        private Watcher(String sandbox, Open<Watched> open) {
            this.sandbox = sandbox;
            this.open = open;
        }

        private void listen(String id) {
            Guests.inThread("forkd-e2b-watcher", () -> {
                try (open) {
                    boolean more = true;
                    while (more && !isForgotten()) {
                        more = !open.stream().events().awaitNews(PATIENCE) || take();
                    }
                    Thread.sleep(more ? 0 : LAST_WORDS.toMillis());
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                } catch (ForkdException | ConnectFailure e) {
                    // The guest is gone, or lies.
                } finally {
                    watchers.remove(id, this);
                }
            });
        }

        private synchronized boolean isForgotten() {
            return System.nanoTime() - asked > PATIENCE.toNanos();
        }

        /** False when it was the last. */
        private boolean take() {
            Optional<GuestChange> next = open.stream().events().next();
            next.ifPresent(change -> add(
                    change instanceof GuestChange.At at
                            ? Changes.of(open.stream().root(), at)
                            : List.of()));
            return next.isPresent();
        }

        /** @param more none when some were lost */
        private synchronized void add(List<Changes> more) {
            int length = more.stream().mapToInt(Changes::size).sum();
            if (more.isEmpty() || bytes + length > MOST_BYTES) {
                lost = true;
                return;
            }
            bytes += length;
            changes.addAll(more);
        }

        /** All since it was asked last. */
        private synchronized List<Changes> ask() {
            asked = System.nanoTime();
            List<Changes> told = changes;
            changes = new ArrayList<>();
            bytes = 0;
            if (lost) {
                lost = false;
                throw lost();
            }
            return told;
        }
    }

    ObjectNode create(EnvdCall call, Fields message) {
        Open<Watched> open = call.open(guest -> FilesystemService.watch(call, guest, message));
        byte[] bytes = new byte[ID_BYTES];
        random.nextBytes(bytes);
        String id = HexFormat.of().formatHex(bytes);
        Watcher watcher = new Watcher(call.sandbox().id(), open);
        watchers.put(id, watcher);
        watcher.listen(id);
        return object().put("watcherId", id);
    }

    private Watcher find(EnvdCall call, String id) {
        return Optional.ofNullable(watchers.get(id))
                .filter(watcher -> watcher.sandbox.equals(call.sandbox().id()))
                .orElseThrow(() -> new ConnectFailure(Code.NOT_FOUND, "there is no such watcher"));
    }

    ObjectNode events(EnvdCall call, Fields message) {
        Watcher watcher = find(call, message.text("watcherId"));
        List<Changes> told = watcher.ask();
        ObjectNode answer = object();
        ArrayNode events = answer.putArray("events");
        if (!told.isEmpty()) {
            call.ask(guest -> {
                told.forEach(
                        change -> events.add(change.json(watcher.open.stream().entries())));
                return true;
            });
        }
        return answer;
    }

    ObjectNode remove(EnvdCall call, Fields message) {
        String id = message.text("watcherId");
        Watcher watcher = find(call, id);
        watchers.remove(id, watcher);
        watcher.open.close();
        return object();
    }
}
