package io.forkd.daemon.e2b;

import io.forkd.Json;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

/**
 * A message as Protocol Buffers have it in JSON: a field that is absent has its default value, {@code null} is absent, and
 * a name may be in either case. What nobody asks for is ignored. Everything throws a {@link ConnectFailure} where a field
 * is of another type.
 */
final class Fields {
    private final JsonNode object;
    private final String path;

    private Fields(JsonNode object, String path) {
        this.object = object;
        this.path = path;
    }

    static Fields parse(byte[] bytes) {
        try {
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
        } catch (CharacterCodingException e) {
            throw ConnectFailure.invalid("the message is not UTF-8");
        }
        for (byte b : bytes) {
            // Jackson would take UTF-16, too.
            if (b == 0) {
                throw ConnectFailure.invalid("the message is not JSON: it has a zero byte");
            }
        }
        try {
            JsonNode document = Json.parseBounded(bytes);
            if (!document.isObject()) {
                throw ConnectFailure.invalid("the message must be a JSON object");
            }
            return new Fields(document, "");
        } catch (JacksonException e) {
            throw ConnectFailure.invalid("the message is not JSON: " + e.getOriginalMessage());
        }
    }

    private Optional<JsonNode> field(String name) {
        JsonNode value = object.get(name);
        if (value == null) {
            value = object.get(name.replaceAll("([A-Z])", "_$1").toLowerCase(Locale.ROOT));
        }
        return Optional.ofNullable(value).filter(node -> !node.isNull());
    }

    boolean has(String name) {
        return field(name).isPresent();
    }

    Optional<String> optionalText(String name) {
        return field(name).map(value -> text(name, value));
    }

    String text(String name) {
        return optionalText(name).orElse("");
    }

    private String text(String name, JsonNode value) {
        // Half of a surrogate pair can be escaped in JSON, and written nowhere.
        if (!value.isString() || !StandardCharsets.UTF_8.newEncoder().canEncode(value.stringValue())) {
            throw wrong(name, "a text");
        }
        return value.stringValue();
    }

    List<String> texts(String name) {
        List<String> texts = new ArrayList<>();
        field(name).ifPresent(array -> {
            if (!array.isArray()) {
                throw wrong(name, "a list of texts");
            }
            array.forEach(element -> texts.add(text(name, element)));
        });
        return List.copyOf(texts);
    }

    Map<String, String> map(String name) {
        Map<String, String> map = new LinkedHashMap<>();
        field(name).ifPresent(members -> {
            if (!members.isObject()) {
                throw wrong(name, "an object of texts");
            }
            members.properties().forEach(member -> map.put(member.getKey(), text(name, member.getValue())));
        });
        return map;
    }

    boolean flag(String name, boolean otherwise) {
        return field(name)
                .map(value -> {
                    if (!value.isBoolean()) {
                        throw wrong(name, "true or false");
                    }
                    return value.booleanValue();
                })
                .orElse(otherwise);
    }

    /** Not below 0. */
    long number(String name) {
        return field(name)
                .map(value -> {
                    if (!value.isIntegralNumber() || !value.canConvertToLong() || value.longValue() < 0) {
                        throw wrong(name, "a whole number");
                    }
                    return value.longValue();
                })
                .orElse(0L);
    }

    /** Of an enumeration, the name or the number. */
    String choice(String name) {
        return field(name)
                .map(value -> value.isIntegralNumber() ? value.asString() : text(name, value))
                .orElse("");
    }

    Optional<byte[]> bytes(String name) {
        return optionalText(name).map(text -> {
            try {
                return Base64.getDecoder().decode(text.replace('-', '+').replace('_', '/'));
            } catch (IllegalArgumentException e) {
                throw wrong(name, "base64");
            }
        });
    }

    Optional<Fields> object(String name) {
        return field(name).map(value -> {
            if (!value.isObject()) {
                throw wrong(name, "an object");
            }
            return new Fields(value, path + name + ".");
        });
    }

    private ConnectFailure wrong(String name, String what) {
        return ConnectFailure.invalid("the field " + path + name + " must be " + what);
    }
}
