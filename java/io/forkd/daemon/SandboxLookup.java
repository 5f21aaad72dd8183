package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.Paused;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Sandbox;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.function.Supplier;

/** Sandboxes by the ids that clients send. */
public final class SandboxLookup {
    private SandboxLookup() {}

    /** The id that is meant, where a name that the caller has given stands for one. */
    public static String id(Engine engine, Caller caller, String idOrName) {
        return engine.sandboxes().id(caller.owner(), idOrName);
    }

    /** Whatever state it is in; 404 when it does not live, or the caller does not know of it. */
    public static Found find(Engine engine, Caller caller, String id) {
        return known(engine, caller, id, () -> engine.sandboxes().findAny(id));
    }

    /** Whether the caller knows of it. */
    public static boolean isOf(Caller caller, Found found) {
        return Owners.knows(caller, found.directory());
    }

    /** As {@link #find}, and it is asked how it is. */
    public static Found ask(Engine engine, Caller caller, String id) {
        find(engine, caller, id);
        return known(engine, caller, id, () -> engine.sandboxes().ask(id));
    }

    private static Found known(Engine engine, Caller caller, String id, Supplier<Found> look) {
        try {
            if (caller.owner().isEmpty() || knows(engine, caller, id)) {
                return look.get();
            }
        } catch (ForkdException e) {
            if (e.kind() != Kind.NOT_FOUND && caller.owner().isEmpty()) {
                throw Failures.answer(e);
            }
        }
        throw new HttpFailure(404, "sandbox " + id + " not found" + whyKilled(engine, caller, id));
    }

    private static boolean knows(Engine engine, Caller caller, String id) {
        Optional<Path> directory = engine.sandboxes().directory(id);
        while (true) {
            if (directory.filter(path -> Owners.knows(caller, path)).isPresent()) {
                return true;
            }
            Optional<Path> now = engine.sandboxes().directory(id);
            if (now.equals(directory)) {
                return false;
            }
            directory = now; // It was paused, or resumed, meanwhile.
        }
    }

    /** What a sentence about it ends with when the kernel has killed it, and the caller knew of it. */
    public static String whyKilled(Engine engine, Caller caller, String id) {
        return engine.sandboxes()
                .killed(id)
                .filter(killed -> caller.owner().isEmpty() || caller.owner().equals(killed.owner()))
                .map(killed -> ": " + killed.reason())
                .orElse("");
    }

    /** One that can be asked something, perhaps when it was resumed for that; 409 when it is paused and stays so. */
    public static Known usable(Engine engine, Caller caller, String id) {
        Found found = find(engine, caller, id);
        return found instanceof Paused paused && paused.sandbox().lifetime().wake() ? paused : running(found);
    }

    /** Has it be used. Its end may have come since it was looked at. */
    public static Engine.Use use(Engine engine, Caller caller, Known sandbox, Call call) {
        try {
            return engine.use(sandbox, call);
        } catch (ForkdException e) {
            usable(engine, caller, sandbox.id());
            throw Failures.internal(e);
        }
    }

    /** One that runs; 409 when it is paused, 500 when it does not answer. */
    public static Sandbox running(Engine engine, Caller caller, String id) {
        return running(find(engine, caller, id)).sandbox();
    }

    private static Running running(Found found) {
        String id = found.id();
        if (found instanceof Running running && running.sandbox().isPools()) {
            throw new HttpFailure(
                    409,
                    "sandbox " + id + " is of the pool "
                            + running.sandbox().pool().orElseThrow().pool() + ", of which it has to be taken");
        }
        if (found instanceof Running running) {
            return running;
        }
        if (found instanceof Paused) {
            throw new HttpFailure(
                    409, "sandbox " + id + " is paused: POST /v1/sandboxes/" + id + "/resume lets it go on");
        }
        throw new HttpFailure(500, "sandbox " + id + " does not answer");
    }

    /** Ends it, whoever waits for that. */
    public static void end(Engine engine, Found found) {
        engine.sandboxes()
                .kill(List.of(found), Calls.toTheEnd())
                .forEach(failed -> failed.ifPresent(e -> {
                    throw e;
                }));
    }

    /** Does what the sandbox has to be there for, which it was: 404 when it has ended meanwhile. */
    public static <T> T whileThere(Engine engine, Caller caller, String id, Supplier<T> job) {
        try {
            return job.get();
        } catch (ForkdException e) {
            if (e.kind() == Kind.NOT_FOUND) {
                find(engine, caller, id);
            }
            throw Failures.internal(e);
        }
    }

    /** As {@link #whileThere}, of what is done to one that runs: 409 when it failed because that was paused meanwhile. */
    public static <T> T whileRunning(Engine engine, Caller caller, String id, Supplier<T> job) {
        return whileThere(engine, caller, id, () -> {
            try {
                return job.get();
            } catch (ForkdException e) {
                throw pausedMeanwhile(engine, caller, id)
                        .<RuntimeException>map(paused -> paused)
                        .orElse(e);
            }
        });
    }

    /** Why something failed of one that ran when it began; empty when that has another reason. */
    static Optional<HttpFailure> pausedMeanwhile(Engine engine, Caller caller, String id) {
        try {
            return find(engine, caller, id) instanceof Paused
                    ? Optional.of(new HttpFailure(409, "sandbox " + id + " was paused meanwhile"))
                    : Optional.empty();
        } catch (HttpFailure e) {
            return Optional.empty();
        }
    }
}
