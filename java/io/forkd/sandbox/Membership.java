package io.forkd.sandbox;

import java.util.Locale;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * Of which pool a sandbox is.
 *
 * @param pool its name
 * @param definition which of that name it was when the sandbox was made of it
 */
public record Membership(String pool, String definition, State state) {
    /** Only one that is taken may be used. */
    public enum State {
        READY,
        TAKEN,
        /** It is being reset, or ended: nobody has it. */
        RETURNING;

        /** As it is written. */
        public String word() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    public boolean is(State other) {
        return state == other;
    }

    public Membership in(State other) {
        return new Membership(pool, definition, other);
    }

    /** Empty when it is none. */
    static Optional<Membership> read(JsonNode node) {
        for (State state : State.values()) {
            if (node.path("state").asString("").equals(state.word())) {
                return Optional.of(new Membership(
                        node.path("name").asString(""), node.path("definition").asString(""), state));
            }
        }
        return Optional.empty();
    }

    void write(ObjectNode node) {
        put(node).put("definition", definition);
    }

    /** The fields of REST v1. */
    public ObjectNode put(ObjectNode node) {
        return node.put("name", pool).put("state", state.word());
    }
}
