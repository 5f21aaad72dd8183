package io.forkd.kubernetes.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.forkd.kubernetes.resource.Api;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * What a NetworkPolicy says of egress, in the rules of a daemon. Of a peer there is an ipBlock, with what is except, or a DNS
 * name; of pods there are none, as guests are none. Ports are for TCP and UDP alike.
 */
final class NetworkRules {
    private NetworkRules() {}

    /** @param network {@code {"policy": "internet"}} or {@code {"egress": [...]}} */
    static JsonNode of(JsonNode network) {
        JsonNode policy = network.path("policy");
        if (policy.isTextual()) {
            return policy;
        }
        Set<String> allow = new LinkedHashSet<>();
        Set<String> deny = new LinkedHashSet<>();
        for (JsonNode rule : network.path("egress")) {
            List<String> ports = ports(rule.path("ports"));
            if (rule.path("to").isEmpty()) {
                ports.forEach(port -> allow.add("all" + port));
            }
            for (JsonNode peer : rule.path("to")) {
                String target = peer.has("dnsName")
                        ? peer.path("dnsName").asText()
                        : peer.path("ipBlock").path("cidr").asText();
                String all = target.equals("0.0.0.0/0") ? "all" : target;
                ports.forEach(port -> allow.add(all + port));
                for (JsonNode except : peer.path("ipBlock").path("except")) {
                    ports.forEach(port -> deny.add(except.asText() + port));
                }
            }
        }
        if (allow.isEmpty()) {
            return Api.object().textNode("none");
        }
        ObjectNode rules = Api.object();
        ArrayNode allowed = rules.putArray("allow");
        allow.forEach(allowed::add);
        ArrayNode denied = rules.putArray("deny");
        deny.forEach(denied::add);
        return rules;
    }

    private static List<String> ports(JsonNode ports) {
        List<String> suffixes = new ArrayList<>();
        for (JsonNode each : ports) {
            String range = each.path("port").asText();
            suffixes.add(":"
                    + (each.has("endPort") ? range + "-" + each.path("endPort").asText() : range));
        }
        return suffixes.isEmpty() ? List.of("") : suffixes;
    }
}
