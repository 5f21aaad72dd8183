package io.forkd.daemon.e2b;

import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The ids of sandboxes as E2B's clients have them: without dashes, since they stand in host names behind one. */
final class SandboxIds {
    /** Letters and digits alone. */
    static final String OUTWARD = "sb[0-9a-f]{16}";

    private static final Pattern FORM = Pattern.compile("sb([0-9a-f]{8})([0-9a-f]{8})");

    private SandboxIds() {}

    static String outward(String id) {
        return id.replace("-", "");
    }

    /** The engine's; empty when it is none of those that are given out. */
    static Optional<String> inward(String id) {
        Matcher parts = FORM.matcher(id);
        return parts.matches() ? Optional.of("sb-" + parts.group(1) + "-" + parts.group(2)) : Optional.empty();
    }
}
