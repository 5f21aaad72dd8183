package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/** An object that a daemon answered with, whose fields are not believed to be there, or of their types. */
record Answer(JsonNode node) {
    Answer {
        if (!node.isObject()) {
            throw new ForkdException(Kind.FAILED, "the daemon answered without an object");
        }
    }

    /** The elements of an answer that is an array of objects. */
    static List<Answer> all(JsonNode array) {
        if (!array.isArray()) {
            throw new ForkdException(Kind.FAILED, "the daemon answered without an array");
        }
        return array.valueStream().map(Answer::new).toList();
    }

    String text(String field) {
        return optionalText(field).orElseThrow(() -> missing(field));
    }

    /** Without what a terminal would do something with. */
    Optional<String> optionalText(String field) {
        return raw(field).map(text -> text.replaceAll("\\p{Cc}", "?"));
    }

    /** As it came: what a guest wrote. */
    Optional<String> raw(String field) {
        JsonNode value = node.path(field);
        return value.isString() ? Optional.of(value.stringValue()) : Optional.empty();
    }

    long number(String field) {
        return optionalNumber(field).orElseThrow(() -> missing(field));
    }

    OptionalLong optionalNumber(String field) {
        JsonNode value = node.path(field);
        return value.isIntegralNumber() && value.canConvertToLong()
                ? OptionalLong.of(value.longValue())
                : OptionalLong.empty();
    }

    /** One without fields when there is no such object. */
    Answer object(String field) {
        JsonNode value = node.path(field);
        return new Answer(value.isObject() ? value : JsonNodeFactory.instance.objectNode());
    }

    boolean flag(String field) {
        return node.path(field).asBoolean(false);
    }

    List<String> texts(String field) {
        return node.path(field)
                .valueStream()
                .filter(JsonNode::isString)
                .map(text -> text.stringValue().replaceAll("\\p{Cc}", "?"))
                .toList();
    }

    /** Nothing when there is no such array. */
    List<Answer> objects(String field) {
        return node.path(field)
                .valueStream()
                .filter(JsonNode::isObject)
                .map(Answer::new)
                .toList();
    }

    private static ForkdException missing(String field) {
        return new ForkdException(Kind.FAILED, "the daemon's answer has no " + field);
    }
}
