package io.forkd.agent;

import java.util.Locale;
import java.util.Optional;

/** What a watch saw. */
public sealed interface GuestChange {
    enum What {
        CREATE,
        WRITE,
        REMOVE,
        MOVE,
        ATTRIBUTES;

        /** As it is in answers. */
        public String text() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /**
     * One was seen.
     *
     * @param to where it was moved to, of {@link What#MOVE}
     */
    record At(What what, GuestPath path, Optional<GuestPath> to) implements GuestChange {}

    /** There were more than could be kept, or directories could not be watched: look again. */
    record Lost() implements GuestChange {}

    static GuestChange of(GuestAnswer answer) {
        String text = answer.text("change");
        if (text.equals("lost")) {
            return new Lost();
        }
        for (What what : What.values()) {
            if (what.text().equals(text)) {
                Optional<GuestPath> to = answer.optionalPath("to");
                if (to.isPresent() != (what == What.MOVE)) {
                    throw answer.broken("to");
                }
                return new At(what, answer.path("path"), to);
            }
        }
        throw answer.broken("change");
    }
}
