package io.forkd.network;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.network.Rule.Destination;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;
import tools.jackson.databind.node.StringNode;

/**
 * What a guest may reach. What is denied is denied, whatever allows it; what nothing allows is denied, too. The order of
 * the rules says nothing.
 */
public record NetworkPolicy(List<Rule> allow, List<Rule> deny) {
    public static final NetworkPolicy NONE = new NetworkPolicy(List.of(), List.of());
    public static final NetworkPolicy INTERNET =
            new NetworkPolicy(List.of(new Rule(new Destination.Internet(), Optional.empty())), List.of());

    /** How many rules one may have. */
    public static final int MOST = 10_000;

    /** How many different ports, or ranges of them, it may have: each costs a set of its own, and time with the square. */
    public static final int MOST_PORTS = 1000;

    public NetworkPolicy {
        allow = List.copyOf(new LinkedHashSet<>(allow));
        deny = List.copyOf(new LinkedHashSet<>(deny));
        if (allow.size() + deny.size() > MOST) {
            throw new ForkdException(
                    Kind.USAGE,
                    "a network policy has at most " + MOST + " rules, and this one has "
                            + (allow.size() + deny.size()));
        }
        long ports = Stream.concat(allow.stream(), deny.stream())
                .map(Rule::ports)
                .distinct()
                .count();
        if (ports > MOST_PORTS) {
            throw new ForkdException(
                    Kind.USAGE,
                    "a network policy has at most " + MOST_PORTS
                            + " different ports and ranges of them, and this one has " + ports,
                    "Put ports that are beside each other into ranges.");
        }
        for (Rule rule : deny) {
            if (rule.destination() instanceof Destination.Name) {
                throw new ForkdException(
                        Kind.USAGE,
                        "'" + rule + "' cannot be denied by name: its addresses serve other names, too, and may be used"
                                + " without one",
                        "Allow the names that are wanted, or deny addresses.");
            }
        }
    }

    /** Rules as a user writes them: any of them may be several with commas between them, and one with ! denies. */
    public static NetworkPolicy parse(List<String> texts) {
        List<String> words = texts.stream()
                .flatMap(text -> List.of(text.split(",", -1)).stream())
                .map(String::strip)
                .toList();
        if (words.equals(List.of("none"))) {
            return NONE;
        }
        return new NetworkPolicy(
                words.stream()
                        .filter(word -> !word.startsWith("!"))
                        .map(Rule::parse)
                        .toList(),
                words.stream()
                        .filter(word -> word.startsWith("!"))
                        .map(word -> Rule.parse(word.substring(1).strip()))
                        .toList());
    }

    /** As {@link #toJson} writes it, or a text as for {@link #parse}. */
    public static NetworkPolicy of(JsonNode json) {
        if (json.isString()) {
            return parse(List.of(json.stringValue()));
        }
        if (!(json instanceof ObjectNode object)) {
            throw wrong();
        }
        for (String name : object.propertyNames()) {
            if (!name.equals("allow") && !name.equals("deny")) {
                throw wrong();
            }
        }
        return new NetworkPolicy(rules(object, "allow"), rules(object, "deny"));
    }

    private static List<Rule> rules(ObjectNode object, String field) {
        JsonNode list = object.path(field);
        List<Rule> rules = new ArrayList<>();
        if (!list.isMissingNode() && !list.isNull() && !list.isArray()) {
            throw wrong();
        }
        for (JsonNode rule : list) {
            if (!rule.isString()) {
                throw wrong();
            }
            rules.add(Rule.parse(rule.stringValue()));
        }
        return rules;
    }

    private static ForkdException wrong() {
        return new ForkdException(
                Kind.USAGE,
                "a network policy is none, internet, all, or an object with lists of rules, \"allow\" and \"deny\"");
    }

    public JsonNode toJson() {
        if (deny.isEmpty() && allow.isEmpty()) {
            return StringNode.valueOf("none");
        }
        if (deny.isEmpty() && allow.size() == 1 && isWord(allow.get(0))) {
            return StringNode.valueOf(allow.get(0).toString());
        }
        ObjectNode node = JsonNodeFactory.instance.objectNode();
        put(node.putArray("allow"), allow);
        put(node.putArray("deny"), deny);
        return node;
    }

    private static boolean isWord(Rule rule) {
        return rule.ports().isEmpty()
                && (rule.destination() instanceof Destination.All
                        || rule.destination() instanceof Destination.Internet);
    }

    private static void put(ArrayNode array, List<Rule> rules) {
        rules.forEach(rule -> array.add(rule.toString()));
    }

    /** Whether everything that {@code other} lets through is let through by this one; false when that is hard to say. */
    public boolean contains(NetworkPolicy other) {
        return other.allow.stream().allMatch(rule -> allow.stream().anyMatch(ours -> ours.contains(rule)))
                && deny.stream()
                        .allMatch(rule -> other.deny.stream().anyMatch(theirs -> theirs.contains(rule))
                                || other.allow.stream().noneMatch(rule::meets));
    }

    /** Rules that allow what is denied altogether, which therefore say nothing. */
    public List<String> contradictions() {
        return allow.stream()
                .filter(rule -> deny.stream().anyMatch(denied -> denied.contains(rule)))
                .map(Rule::toString)
                .toList();
    }

    /** Those that a resolver has to be asked about; none where all public addresses are open anyway. */
    List<Rule> named() {
        List<Rule> wide = allow.stream()
                .filter(rule -> !(rule.destination() instanceof Destination.Name)
                        && !(rule.destination() instanceof Destination.Addresses))
                .toList();
        return allow.stream()
                .filter(rule -> rule.destination() instanceof Destination.Name
                        && wide.stream().noneMatch(other -> other.contains(rule)))
                .toList();
    }

    /** Whether it may name addresses of the host. */
    boolean reachesHost() {
        return allow.stream()
                .anyMatch(rule -> rule.destination() instanceof Destination.All
                        || rule.destination() instanceof Destination.Addresses);
    }

    /** As a user would write it. */
    @Override
    public String toString() {
        List<String> words = new ArrayList<>();
        allow.forEach(rule -> words.add(rule.toString()));
        deny.forEach(rule -> words.add("!" + rule));
        return words.isEmpty() ? "none" : String.join(",", words);
    }

    /** Its beginning, for a sentence. */
    public String brief() {
        String text = toString();
        return text.length() > 100 ? text.substring(0, 100) + "..." : text;
    }
}
