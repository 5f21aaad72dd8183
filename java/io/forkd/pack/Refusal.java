package io.forkd.pack;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;

/** Says why a file that came from elsewhere is not used. */
record Refusal(String file) {
    ForkdException of(String why) {
        return of(Kind.DAMAGED, why, "");
    }

    ForkdException of(Kind kind, String why, String advice) {
        return new ForkdException(kind, file + " is refused: " + why, advice);
    }

    /** A text of somebody else's, in a sentence of ours. */
    static String quoted(String text) {
        StringBuilder shown = new StringBuilder("'");
        text.chars()
                .limit(100)
                .forEach(
                        c -> shown.append(c < ' ' || c > '~' ? String.format("\\u%04x", c) : String.valueOf((char) c)));
        return shown.append(text.length() > 100 ? "...'" : "'").toString();
    }
}
