package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Engine;
import io.forkd.http.HttpFailure;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Sandbox;
import java.util.List;

/** Sandboxes by the ids that clients send. */
final class SandboxLookup {
    private SandboxLookup() {}

    /** Whatever state it is in; 404 when it does not live. */
    static Found find(Engine engine, String id) {
        try {
            return engine.sandboxes().findAny(id);
        } catch (ForkdException e) {
            throw e.kind() == Kind.NOT_FOUND
                    ? new HttpFailure(404, "sandbox " + id + " not found")
                    : Failures.answer(e);
        }
    }

    /** One that can be asked something; 500 when it does not answer. */
    static Sandbox running(Engine engine, String id) {
        if (find(engine, id) instanceof Running running) {
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
