package io.forkd.http;

import io.forkd.Json;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

/**
 * A JSON object that a client sent. A field that is missing, of another type or out of bounds is answered with 422; a
 * field that nobody asks for is ignored. An optional field may also be {@code null}.
 */
public final class Body {
    private final JsonNode object;
    private final String path;

    private Body(JsonNode object, String path) {
        this.object = object;
        this.path = path;
    }

    /** @throws HttpFailure 400 when it is no JSON in UTF-8, 422 when it is no object */
    static Body parse(byte[] bytes) {
        try {
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
        } catch (CharacterCodingException e) {
            throw new HttpFailure(400, "the body is not UTF-8");
        }
        for (byte b : bytes) {
            // Jackson would take UTF-16 and UTF-32, too, where a brace has a zero beside it.
            if (b == 0) {
                throw new HttpFailure(400, "the body is not JSON: it has a zero byte");
            }
        }
        JsonNode document;
        try {
            document = Json.parseBounded(bytes);
        } catch (JacksonException e) {
            throw new HttpFailure(400, "the body is not JSON: " + e.getOriginalMessage());
        }
        if (!document.isObject()) {
            throw new HttpFailure(422, "the body must be a JSON object");
        }
        return new Body(document, "");
    }

    public String text(String name) {
        return optionalText(name).orElseThrow(() -> missing(name));
    }

    public Optional<String> optionalText(String name) {
        return field(name).map(value -> text(name, value));
    }

    /** One of the texts that are given. */
    public Optional<String> optionalChoice(String name, List<String> choices) {
        Optional<String> chosen = optionalText(name);
        if (chosen.isPresent() && !choices.contains(chosen.get())) {
            throw new HttpFailure(422, "the field " + path + name + " must be one of " + String.join(", ", choices));
        }
        return chosen;
    }

    public boolean flag(String name, boolean otherwise) {
        Optional<JsonNode> value = field(name);
        if (value.isPresent() && !value.get().isBoolean()) {
            throw wrong(name, "true or false");
        }
        return value.map(JsonNode::booleanValue).orElse(otherwise);
    }

    /** A whole number within the bounds, both included. */
    public long number(String name, long least, long most) {
        return optionalNumber(name, least, most).orElseThrow(() -> missing(name));
    }

    public OptionalLong optionalNumber(String name, long least, long most) {
        Optional<JsonNode> value = field(name);
        if (value.isEmpty()) {
            return OptionalLong.empty();
        }
        if (!value.get().isIntegralNumber()
                || !value.get().canConvertToLong()
                || value.get().longValue() < least
                || value.get().longValue() > most) {
            throw wrong(name, "a whole number from " + least + " to " + most);
        }
        return OptionalLong.of(value.get().longValue());
    }

    /** A number from 0 up with so many decimals at most, in units of the last. */
    public OptionalLong optionalNumber(String name, int decimals) {
        if (decimals == 0) {
            return optionalNumber(name, 0L, Long.MAX_VALUE);
        }
        Optional<JsonNode> value = field(name);
        if (value.isEmpty()) {
            return OptionalLong.empty();
        }
        try {
            // Without a value: infinite.
            Optional<BigDecimal> number = value.filter(JsonNode::isNumber).flatMap(JsonNode::decimalValueOpt);
            if (number.isPresent() && number.get().signum() >= 0) {
                return OptionalLong.of(number.get().movePointRight(decimals).longValueExact());
            }
        } catch (ArithmeticException e) {
            // Too large, or too many decimals.
        }
        throw wrong(name, "a number from 0 up with " + decimals + " decimals at most");
    }

    public List<String> texts(String name) {
        JsonNode array = field(name).orElseThrow(() -> missing(name));
        if (!array.isArray()) {
            throw wrong(name, "a list of texts");
        }
        List<String> texts = new ArrayList<>();
        for (JsonNode element : array) {
            texts.add(text(name + "[" + texts.size() + "]", element));
        }
        return List.copyOf(texts);
    }

    public Optional<Body> optionalObject(String name) {
        return field(name).map(value -> {
            if (!value.isObject()) {
                throw wrong(name, "an object");
            }
            return new Body(value, path + name + ".");
        });
    }

    /** Of whatever type: its form is the caller's to check. */
    public Optional<JsonNode> optionalJson(String name) {
        return field(name);
    }

    /** The names of all fields, for an object whose fields are the client's to name. */
    public List<String> names() {
        return object.propertyNames().stream().toList();
    }

    private Optional<JsonNode> field(String name) {
        return Optional.ofNullable(object.get(name)).filter(value -> !value.isNull());
    }

    private String text(String name, JsonNode value) {
        if (!value.isString()) {
            throw wrong(name, "a text");
        }
        // Half of a surrogate pair can be escaped in JSON, and written nowhere.
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(value.stringValue())) {
            throw wrong(name, "a text of whole characters");
        }
        return value.stringValue();
    }

    private HttpFailure missing(String name) {
        return new HttpFailure(422, "the field " + path + name + " is missing");
    }

    private HttpFailure wrong(String name, String what) {
        return new HttpFailure(422, "the field " + path + name + " must be " + what);
    }
}
