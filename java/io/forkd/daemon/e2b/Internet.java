package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.http.HttpFailure;
import io.forkd.network.NetworkPolicy;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import tools.jackson.databind.JsonNode;

/**
 * What E2B's network object says, as a policy of ours. There, what is allowed goes before what is denied, and what is
 * neither is allowed; here it is the other way round. What cannot be said is refused, and nothing is left out unnoticed.
 */
final class Internet {
    private static final Set<String> EVERYTHING = Set.of("0.0.0.0/0", "all", "*");

    /** What a network object may have that is not about what a guest reaches. */
    private static final Set<String> OTHER =
            Set.of("allowPublicTraffic", "allowOut", "denyOut", "allow_internet_access");

    private Internet() {}

    /** @param allowed what is said beside the rules: whether everything is denied */
    static NetworkPolicy policy(JsonNode network, Optional<Boolean> allowed) {
        for (String field : network.propertyNames()) {
            if (!OTHER.contains(field) && !isNothing(network.path(field))) {
                throw new HttpFailure(400, "network." + field + " cannot be enforced here");
            }
        }
        List<String> allow = texts(network, "allowOut");
        List<String> deny = texts(network, "denyOut");
        boolean denied = allowed.equals(Optional.of(false)) || deny.stream().anyMatch(EVERYTHING::contains);
        try {
            if (denied) {
                return allow.isEmpty() ? NetworkPolicy.NONE : NetworkPolicy.parse(allow);
            }
            if (!allow.isEmpty() && !deny.isEmpty()) {
                throw new HttpFailure(
                        400,
                        "network.allowOut beside a network.denyOut of less than 0.0.0.0/0 cannot be enforced here");
            }
            return deny.isEmpty()
                    ? NetworkPolicy.INTERNET
                    : NetworkPolicy.parse(
                            Stream.concat(Stream.of("internet"), deny.stream().map(each -> "!" + each))
                                    .toList());
        } catch (ForkdException e) {
            throw new HttpFailure(400, e.sentence());
        }
    }

    private static boolean isNothing(JsonNode value) {
        return value.isNull() || (value.isContainer() && value.isEmpty());
    }

    private static List<String> texts(JsonNode network, String field) {
        JsonNode list = network.path(field);
        if (!list.isMissingNode() && !list.isNull() && !list.isArray()) {
            throw new HttpFailure(400, "network." + field + " must be a list of texts");
        }
        List<String> texts = new ArrayList<>();
        for (JsonNode each : list) {
            if (!each.isString()) {
                throw new HttpFailure(400, "network." + field + " must be a list of texts");
            }
            texts.add(each.stringValue());
        }
        return texts;
    }
}
