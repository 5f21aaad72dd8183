package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Sandbox;
import java.util.List;
import java.util.function.Supplier;

/** Sandboxes by the ids that clients send. */
final class SandboxLookup {
    private SandboxLookup() {}

    /** Whatever state it is in; 404 when it does not live, or the caller does not know of it. */
    static Found find(Engine engine, Caller caller, String id) {
        return known(engine, caller, id, () -> engine.sandboxes().findAny(id));
    }

    /** As {@link #find}, and it is asked how it is. */
    static Found ask(Engine engine, Caller caller, String id) {
        find(engine, caller, id);
        return known(engine, caller, id, () -> engine.sandboxes().ask(id));
    }

    private static Found known(Engine engine, Caller caller, String id, Supplier<Found> look) {
        try {
            if (engine.sandboxes()
                    .directory(id)
                    .filter(directory -> Owners.knows(caller, directory))
                    .isPresent()) {
                return look.get();
            }
        } catch (ForkdException e) {
            if (e.kind() != Kind.NOT_FOUND && caller.owner().isEmpty()) {
                throw Failures.answer(e);
            }
        }
        throw new HttpFailure(404, "sandbox " + id + " not found");
    }

    /** One that can be asked something; 500 when it does not answer. */
    static Sandbox running(Engine engine, Caller caller, String id) {
        if (find(engine, caller, id) instanceof Running running) {
            return running.sandbox();
        }
        throw new HttpFailure(500, "sandbox " + id + " does not answer");
    }

    /** Ends it, whoever waits for that. */
    static void end(Engine engine, Found found) {
        engine.sandboxes()
                .kill(List.of(found), Calls.toTheEnd())
                .forEach(failed -> failed.ifPresent(e -> {
                    throw e;
                }));
    }
}
