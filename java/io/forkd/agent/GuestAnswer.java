package io.forkd.agent;

import io.forkd.Json;
import io.forkd.agent.GuestException.Broken;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * A JSON object of a guest, none of whose fields is believed to be there, or of its type.
 *
 * @param doing what it is an answer to, as in "list /etc"
 */
record GuestAnswer(String doing, JsonNode node) {
    static GuestAnswer parse(String doing, byte[] json) {
        try {
            if (Json.parseList(json) instanceof ObjectNode object) {
                return new GuestAnswer(doing, object);
            }
        } catch (JacksonException e) {
            // said below
        }
        throw new Broken(told(doing) + "what it said is no JSON object: "
                + printable(new String(json, 0, Math.min(json.length, 80), StandardCharsets.UTF_8)));
    }

    /** As it is, unless it is an error. */
    GuestAnswer orThrow() {
        if (!node.has("error")) {
            return this;
        }
        String code = text("code");
        if (!code.matches("[A-Z0-9]{1,32}")) {
            throw broken("code");
        }
        throw new GuestException.Refused(
                "cannot " + doing + " in the guest: " + printable(text("error")) + " (" + code + ")", code);
    }

    Broken broken(String field) {
        return new Broken(told(doing) + "its " + field + " is wrong: "
                + printable(Json.text(node.has(field) ? node.path(field) : node)));
    }

    static String told(String doing) {
        return "cannot " + doing + ": the guest broke the protocol, ";
    }

    String text(String field) {
        return optionalText(field).orElseThrow(() -> broken(field));
    }

    Optional<String> optionalText(String field) {
        JsonNode value = node.path(field);
        if (value.isMissingNode()) {
            return Optional.empty();
        }
        if (!value.isString()) {
            throw broken(field);
        }
        return Optional.of(value.stringValue());
    }

    List<String> texts(String field) {
        JsonNode array = node.path(field);
        if (!array.isArray() || !array.valueStream().allMatch(JsonNode::isString)) {
            throw broken(field);
        }
        return array.valueStream().map(JsonNode::stringValue).toList();
    }

    List<GuestAnswer> objects(String field) {
        JsonNode array = node.path(field);
        if (!array.isArray() || !array.valueStream().allMatch(JsonNode::isObject)) {
            throw broken(field);
        }
        return array.valueStream().map(one -> new GuestAnswer(doing, one)).toList();
    }

    /** The two numbers of an array. */
    long[] pair(String field) {
        JsonNode array = node.path(field);
        if (!array.isArray() || array.size() != 2 || !array.valueStream().allMatch(GuestAnswer::isCount)) {
            throw broken(field);
        }
        return array.valueStream().mapToLong(JsonNode::longValue).toArray();
    }

    private static boolean isCount(JsonNode number) {
        return number.isIntegralNumber() && number.canConvertToLong() && number.longValue() >= 0;
    }

    /** Not negative. */
    long count(String field) {
        return number(field, 0, Long.MAX_VALUE);
    }

    long number(String field, long least, long most) {
        return optionalNumber(field, least, most).orElseThrow(() -> broken(field));
    }

    OptionalLong optionalNumber(String field, long least, long most) {
        JsonNode value = node.path(field);
        if (value.isMissingNode()) {
            return OptionalLong.empty();
        }
        if (!value.isIntegralNumber()
                || !value.canConvertToLong()
                || value.longValue() < least
                || value.longValue() > most) {
            throw broken(field);
        }
        return OptionalLong.of(value.longValue());
    }

    /** A time in milliseconds. */
    Instant time(String field) {
        return Instant.ofEpochMilli(number(field, Long.MIN_VALUE, Long.MAX_VALUE));
    }

    /** False when it is not there. */
    boolean flag(String field) {
        JsonNode value = node.path(field);
        if (!value.isMissingNode() && !value.isBoolean()) {
            throw broken(field);
        }
        return value.asBoolean(false);
    }

    GuestPath path(String field) {
        return optionalPath(field).orElseThrow(() -> broken(field));
    }

    /** A path or a name: its bytes, where they are given, else its text. */
    Optional<GuestPath> optionalPath(String field) {
        Optional<String> text = optionalText(field);
        try {
            Optional<GuestPath> path = optionalText(field + "_base64")
                    .map(bytes -> GuestPath.of(Base64.getDecoder().decode(bytes)))
                    .or(() -> text.map(GuestPath::of));
            return path;
        } catch (IllegalArgumentException e) {
            throw broken(field);
        }
    }

    /** The beginning of what a guest said, without what a terminal would do something with. */
    static String printable(String text) {
        return text.substring(0, Math.min(text.length(), 200)).replaceAll("\\p{C}", "?");
    }
}
