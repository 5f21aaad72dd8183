package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.daemon.Failures;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;

/** Templates are snapshots: {@code name} is the tag name, and {@code name:tag} the tag name.tag. */
final class Templates {
    private static final String DEFAULT = ":default";

    private Templates() {}

    static SnapshotTag tag(String template) {
        String name =
                template.endsWith(DEFAULT) ? template.substring(0, template.length() - DEFAULT.length()) : template;
        try {
            return new SnapshotTag(name.replace(':', '.'));
        } catch (ForkdException e) {
            throw unknown(template);
        }
    }

    private static HttpFailure unknown(String template) {
        return new HttpFailure(
                404, "template '" + template + "' was not found: a snapshot of that tag is one (docs/e2b.md)");
    }

    /** One that children can be made of. */
    static Snapshot usable(Engine engine, Caller caller, String template, SnapshotTag tag) {
        try {
            Failures.requireThere(engine, caller, tag);
        } catch (HttpFailure e) {
            throw unknown(template);
        }
        try {
            Snapshot snapshot = engine.store().read(tag);
            if (engine.store().state(snapshot) != State.COMPLETE) {
                throw new HttpFailure(409, "template '" + template + "' is not ready");
            }
            return snapshot;
        } catch (ForkdException e) {
            throw Failures.internal(e);
        }
    }
}
