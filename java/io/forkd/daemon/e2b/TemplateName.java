package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.http.HttpFailure;
import io.forkd.snapshot.SnapshotTag;

/**
 * What a template is called: {@code name} is the snapshot of that tag, and {@code name:tag} the snapshot {@code name.tag}.
 *
 * @param tag {@link #DEFAULT} when none is said
 */
record TemplateName(String name, String tag) {
    static final String DEFAULT = "default";

    /** @throws HttpFailure 400 when there can be no such template */
    static TemplateName parse(String text) {
        int colon = text.indexOf(':');
        TemplateName parsed = colon < 0
                ? new TemplateName(text, DEFAULT)
                : new TemplateName(text.substring(0, colon), text.substring(colon + 1));
        parsed.snapshot();
        return parsed;
    }

    /** Of a snapshot of that tag, which a template of that name has. */
    static TemplateName of(String name, SnapshotTag snapshot) {
        return new TemplateName(
                name, snapshot.value().equals(name) ? DEFAULT : snapshot.value().substring(name.length() + 1));
    }

    TemplateName tagged(String other) {
        TemplateName named = new TemplateName(name, other);
        named.snapshot();
        return named;
    }

    SnapshotTag snapshot() {
        try {
            new SnapshotTag(tag);
            return new SnapshotTag(tag.equals(DEFAULT) ? name : name + "." + tag);
        } catch (ForkdException e) {
            throw new HttpFailure(400, "'" + this + "' is no name of a template: " + e.sentence());
        }
    }

    /** With the tag, always. */
    @Override
    public String toString() {
        return name + ":" + tag;
    }
}
