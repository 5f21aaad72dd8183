package io.forkd.sandbox;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * What a sandbox is called, beside its id.
 *
 * @param name that no other of the same caller has
 * @param labels for whoever lists them
 */
public record Naming(Optional<String> name, Map<String, String> labels) {
    public static final Naming NONE = new Naming(Optional.empty(), Map.of());

    public static final String NAME = "name";
    public static final String LABELS = "labels";

    private static final Pattern NAMES = Pattern.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,62}");
    private static final Pattern KEYS = Pattern.compile("[A-Za-z0-9][A-Za-z0-9_./-]{0,62}");
    private static final int MOST = 64;
    private static final int LONGEST = 256;

    public Naming {
        name.ifPresent(Naming::requireName);
        if (labels.size() > MOST) {
            throw new ForkdException(Kind.USAGE, "a sandbox has " + MOST + " labels at most");
        }
        labels.forEach(Naming::requireLabel);
        labels = Map.copyOf(labels);
    }

    private static void requireName(String name) {
        if (!isName(name)) {
            throw new ForkdException(
                    Kind.USAGE,
                    "'" + (name.length() > MOST ? name.substring(0, MOST) + "..." : name)
                            + "' is no name of a sandbox: it has 1 to 63 letters, digits, _ . -, begins with a letter or"
                            + " digit, and is no id");
        }
    }

    /** Whether a sandbox may be called so; no id is a name. */
    public static boolean isName(String text) {
        return NAMES.matcher(text).matches() && !text.startsWith(Sandbox.PREFIX);
    }

    private static void requireLabel(String key, String value) {
        if (!KEYS.matcher(key).matches()) {
            throw new ForkdException(
                    Kind.USAGE,
                    "'" + (key.length() > MOST ? key.substring(0, MOST) + "..." : key)
                            + "' is no key of a label: it has 1 to 63 letters, digits, _ . / -, and begins with a letter"
                            + " or digit");
        }
        if (value.length() > LONGEST || value.chars().anyMatch(Character::isISOControl)) {
            throw new ForkdException(
                    Kind.USAGE,
                    "the label " + key + " is too long, or has control characters: " + LONGEST + " others at most");
        }
    }

    public Naming named(Optional<String> other) {
        return new Naming(other, labels);
    }

    public Naming labelled(Map<String, String> others) {
        return new Naming(name, others);
    }

    /** Whether all of those are among its labels; one without a value, whatever its value. */
    public boolean has(Map<String, Optional<String>> wanted) {
        return wanted.entrySet().stream()
                .allMatch(label -> labels.containsKey(label.getKey())
                        && label.getValue()
                                .map(value -> value.equals(labels.get(label.getKey())))
                                .orElse(true));
    }

    /** As the fields of REST v1 have it, of what is not forkd's: what is no naming is none. */
    public static Naming told(JsonNode node) {
        try {
            return read(node);
        } catch (ForkdException e) {
            return NONE;
        }
    }

    static Naming read(JsonNode node) {
        if (!node.has(NAME) && !node.has(LABELS)) {
            return NONE;
        }
        Map<String, String> labels = new TreeMap<>();
        for (Map.Entry<String, JsonNode> label : node.path(LABELS).properties()) {
            labels.put(label.getKey(), label.getValue().asString(""));
        }
        JsonNode name = node.path(NAME);
        return new Naming(name.isString() ? Optional.of(name.stringValue()) : Optional.empty(), labels);
    }

    /** The fields of REST v1; what is not said is not there. */
    public ObjectNode put(ObjectNode node) {
        name.ifPresent(text -> node.put(NAME, text));
        if (!labels.isEmpty()) {
            ObjectNode object = node.putObject(LABELS);
            new TreeMap<>(labels).forEach(object::put);
        }
        return node;
    }
}
