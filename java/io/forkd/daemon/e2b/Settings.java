package io.forkd.daemon.e2b;

import io.forkd.Json;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What E2B's interface knows of a sandbox and the engine does not.
 *
 * @param owner the user whose it is, if it is one's
 * @param template as it was asked for
 * @param token of its daemon and its code interpreter
 * @param trafficToken of its other ports, if those are not for everybody
 * @param defaults of its programs
 * @param timeout of each life, in seconds
 * @param network as it was given; an empty object otherwise
 * @param internet whether it was to reach that, if it was said
 */
record Settings(
        Optional<String> owner,
        String template,
        String token,
        Optional<String> trafficToken,
        Map<String, String> metadata,
        Defaults defaults,
        long timeout,
        JsonNode network,
        Optional<Boolean> internet,
        Instant startedAt) {
    Settings {
        metadata = Map.copyOf(metadata);
    }

    /** Of one that is forked of it. */
    Settings forked(String ownToken, Optional<String> ownTrafficToken, long time, Instant now) {
        return new Settings(
                owner, template, ownToken, ownTrafficToken, metadata, defaults, time, network, internet, now);
    }

    Settings reaching(JsonNode rules, Optional<Boolean> allowed) {
        return new Settings(
                owner, template, token, trafficToken, metadata, defaults, timeout, rules, allowed, startedAt);
    }

    /** Its programs have these variables, too. */
    Settings with(Map<String, String> variables) {
        return new Settings(
                owner,
                template,
                token,
                trafficToken,
                metadata,
                defaults.with(variables),
                timeout,
                network,
                internet,
                startedAt);
    }

    byte[] encode() {
        ObjectNode node =
                JsonNodeFactory.instance.objectNode().put("template", template).put("token", token);
        owner.ifPresent(value -> node.put("owner", value));
        trafficToken.ifPresent(value -> node.put("traffic_token", value));
        ObjectNode names = node.putObject("metadata");
        metadata.forEach(names::put);
        defaults.put(node).put("timeout", timeout);
        node.set("network", network);
        internet.ifPresent(value -> node.put("internet", value));
        return Json.bytes(node.put("started_at", startedAt.toString()));
    }

    static Settings decode(byte[] bytes) {
        JsonNode node = Json.parse(bytes);
        return new Settings(
                optional(node, "owner"),
                node.path("template").asString(""),
                node.path("token").asString(""),
                optional(node, "traffic_token"),
                texts(node.path("metadata")),
                Defaults.of(node),
                node.path("timeout").asLong(0),
                node.path("network"),
                node.has("internet") ? Optional.of(node.path("internet").asBoolean(true)) : Optional.empty(),
                Instant.parse(node.path("started_at").asString("")));
    }

    private static Optional<String> optional(JsonNode node, String name) {
        return Optional.of(node.path(name).asString("")).filter(value -> !value.isEmpty());
    }

    private static Map<String, String> texts(JsonNode object) {
        Map<String, String> texts = new LinkedHashMap<>();
        object.properties()
                .forEach(each -> texts.put(each.getKey(), each.getValue().asString("")));
        return texts;
    }
}
