package io.forkd.daemon.e2b;

import io.forkd.http.HttpFailure;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;

/**
 * One step of a build, as a client gives it.
 *
 * @param type COPY, ENV, RUN, USER or WORKDIR
 * @param files the name of an archive that was sent, of a COPY
 */
record Step(String type, List<String> args, Optional<String> files) {
    static final Pattern FILES = Pattern.compile("[0-9a-f]{64}");

    private static final int MOST = 512;

    /** What each type needs. */
    private static final Map<String, Integer> LEAST_ARGS =
            Map.of("COPY", 2, "ENV", 2, "RUN", 1, "USER", 1, "WORKDIR", 1);

    /** @throws HttpFailure 400 when they are none */
    static List<Step> list(JsonNode array) {
        if (!array.isArray() || array.size() > MOST) {
            throw new HttpFailure(400, "the field steps must be a list of " + MOST + " steps at most");
        }
        List<Step> steps = new ArrayList<>();
        for (JsonNode each : array) {
            steps.add(of(each, "steps[" + steps.size() + "]"));
        }
        return steps;
    }

    private static Step of(JsonNode node, String where) {
        String type = node.path("type").asString("");
        if (!LEAST_ARGS.containsKey(type)) {
            throw new HttpFailure(400, where + ".type must be COPY, ENV, RUN, USER or WORKDIR");
        }
        List<String> args = new ArrayList<>();
        for (JsonNode arg : node.path("args")) {
            if (!arg.isString() || arg.stringValue().indexOf('\0') >= 0) {
                throw new HttpFailure(400, where + ".args must be a list of texts");
            }
            args.add(arg.stringValue());
        }
        if (args.size() < LEAST_ARGS.get(type)) {
            throw new HttpFailure(400, type + " needs " + LEAST_ARGS.get(type) + " arguments (" + where + ")");
        }
        if (type.equals("ENV") && args.size() % 2 != 0) {
            throw new HttpFailure(400, "ENV needs a value for each name (" + where + ")");
        }
        Optional<String> files =
                Optional.of(node.path("filesHash").asString("")).filter(hash -> !hash.isEmpty());
        if (type.equals("COPY")
                && !files.filter(hash -> FILES.matcher(hash).matches()).isPresent()) {
            throw new HttpFailure(400, "COPY needs filesHash, of 64 hexadecimal digits (" + where + ")");
        }
        return new Step(type, List.copyOf(args), files);
    }

    String arg(int index) {
        return index < args.size() ? args.get(index) : "";
    }

    /** As a log has it. */
    String text() {
        return (type + " " + String.join(" ", args)).strip();
    }
}
