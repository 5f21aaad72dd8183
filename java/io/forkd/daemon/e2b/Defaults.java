package io.forkd.daemon.e2b;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * What a program in a sandbox has where its caller says nothing else.
 *
 * @param user if there is one of that name; otherwise root
 * @param directory that relative paths begin at; empty: the user's home
 * @param environment of each program
 */
record Defaults(String user, Optional<String> directory, Map<String, String> environment) {
    /** As E2B's own images have it. */
    static final Defaults NONE = new Defaults("user", Optional.empty(), Map.of());

    /** In characters, with their names: of all variables together. They are read at each call of a sandbox. */
    static final int MOST_VARIABLES = 64 << 10;

    private static final String USER = "user";
    private static final String DIRECTORY = "directory";
    private static final String ENVIRONMENT = "environment";

    Defaults {
        environment = Map.copyOf(environment);
    }

    Defaults as(String other) {
        return new Defaults(other, directory, environment);
    }

    Defaults in(String other) {
        return new Defaults(user, Optional.of(other), environment);
    }

    /** With those variables, too. */
    Defaults with(Map<String, String> more) {
        Map<String, String> all = new LinkedHashMap<>(environment);
        all.putAll(more);
        return new Defaults(user, directory, all);
    }

    boolean isTooLong() {
        return length(environment) > MOST_VARIABLES;
    }

    static long length(Map<String, String> texts) {
        return texts.entrySet().stream()
                .mapToLong(
                        each -> (long) each.getKey().length() + each.getValue().length())
                .sum();
    }

    /** Adds it to what is written down. */
    ObjectNode put(ObjectNode node) {
        node.put(USER, user);
        directory.ifPresent(path -> node.put(DIRECTORY, path));
        ObjectNode variables = node.putObject(ENVIRONMENT);
        environment.forEach(variables::put);
        return node;
    }

    /** Of what {@link #put} wrote; what is missing is as usual. */
    static Defaults of(JsonNode node) {
        Map<String, String> variables = new LinkedHashMap<>();
        node.path(ENVIRONMENT)
                .properties()
                .forEach(each -> variables.put(each.getKey(), each.getValue().asString("")));
        return new Defaults(
                node.path(USER).asString(NONE.user()),
                Optional.of(node.path(DIRECTORY).asString("")).filter(path -> path.startsWith("/")),
                variables);
    }
}
