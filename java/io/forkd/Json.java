package io.forkd;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.exc.StreamReadException;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * JSON as a tree, to and from bytes. Without Jackson's mapper, which trees do not need: its start takes 60 ms, and most
 * commands have to be through in a few times that.
 */
public final class Json {
    /** A value takes a hundred bytes as a tree, and two as text. */
    private static final int MOST_TOKENS = 8192;

    /** The processes of a guest, of which there are hundreds. */
    private static final int MOST_TOKENS_OF_A_LIST = 8 * MOST_TOKENS;

    private static final JsonFactory FACTORY = new JsonFactory();
    private static final JsonFactory BOUNDED = bounded(MOST_TOKENS);
    private static final JsonFactory LONG = bounded(MOST_TOKENS_OF_A_LIST);
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private Json() {}

    /**
     * Reads one document.
     *
     * @throws tools.jackson.core.JacksonException when it is none, or more than one
     */
    public static JsonNode parse(byte[] json) {
        return parse(FACTORY, json);
    }

    /**
     * Reads one document of somebody who is not trusted with our memory: it may have some thousands of names and values.
     *
     * @throws tools.jackson.core.JacksonException when it is none, or more than one, or has more than that
     */
    public static JsonNode parseBounded(byte[] json) {
        return parse(BOUNDED, json);
    }

    /**
     * Looks whether it is one document, without making a tree of it.
     *
     * @throws tools.jackson.core.JacksonException when it is none, or more than one
     */
    public static void check(byte[] json) {
        try (JsonParser parser = FACTORY.createParser(ObjectReadContext.empty(), json)) {
            requireToken(parser);
            parser.skipChildren();
            requireEnd(parser);
        }
    }

    /**
     * The same with a bound of its own.
     *
     * @param tokens names, values, and beginnings and ends of lists and objects
     */
    public static JsonNode parse(byte[] json, int tokens) {
        return parse(bounded(tokens), json);
    }

    /** The same of one that is a long list: some ten thousands. */
    public static JsonNode parseList(byte[] json) {
        return parse(LONG, json);
    }

    private static JsonFactory bounded(int tokens) {
        return JsonFactory.builder()
                .streamReadConstraints(
                        StreamReadConstraints.builder().maxTokenCount(tokens).build())
                .build();
    }

    private static JsonNode parse(JsonFactory factory, byte[] json) {
        try (JsonParser parser = factory.createParser(ObjectReadContext.empty(), json)) {
            requireToken(parser);
            JsonNode document = value(parser);
            requireEnd(parser);
            return document;
        }
    }

    private static void requireToken(JsonParser parser) {
        if (parser.nextToken() == null) {
            throw new StreamReadException(parser, "it is empty");
        }
    }

    private static void requireEnd(JsonParser parser) {
        if (parser.nextToken() != null) {
            throw new StreamReadException(parser, "something comes after its end");
        }
    }

    /** The parser bounds how deep this goes, and how long numbers and texts are. */
    private static JsonNode value(JsonParser parser) {
        return switch (parser.currentToken()) {
            case START_OBJECT -> {
                ObjectNode object = NODES.objectNode();
                while (parser.nextToken() != JsonToken.END_OBJECT) {
                    String name = parser.currentName();
                    parser.nextToken();
                    object.set(name, value(parser));
                }
                yield object;
            }
            case START_ARRAY -> {
                ArrayNode array = NODES.arrayNode();
                while (parser.nextToken() != JsonToken.END_ARRAY) {
                    array.add(value(parser));
                }
                yield array;
            }
            case VALUE_STRING -> NODES.stringNode(parser.getString());
            case VALUE_TRUE -> NODES.booleanNode(true);
            case VALUE_FALSE -> NODES.booleanNode(false);
            case VALUE_NULL -> NODES.nullNode();
            case VALUE_NUMBER_INT ->
                parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER
                        ? NODES.numberNode(parser.getBigIntegerValue())
                        : NODES.numberNode(parser.getLongValue());
            case VALUE_NUMBER_FLOAT -> NODES.numberNode(parser.getDoubleValue());
            default -> throw new StreamReadException(parser, "it ends too early");
        };
    }

    /** One line, without its end. */
    public static String text(JsonNode node) {
        return new String(bytes(node), StandardCharsets.UTF_8);
    }

    public static byte[] bytes(JsonNode node) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try (JsonGenerator generator = FACTORY.createGenerator(ObjectWriteContext.empty(), out)) {
            write(node, generator);
        }
        return out.toByteArray();
    }

    private static void write(JsonNode node, JsonGenerator to) {
        switch (node.getNodeType()) {
            case OBJECT -> {
                to.writeStartObject();
                for (Map.Entry<String, JsonNode> member : node.properties()) {
                    to.writeName(member.getKey());
                    write(member.getValue(), to);
                }
                to.writeEndObject();
            }
            case ARRAY -> {
                to.writeStartArray();
                for (JsonNode element : node) {
                    write(element, to);
                }
                to.writeEndArray();
            }
            case STRING -> to.writeString(node.stringValue());
            case BOOLEAN -> to.writeBoolean(node.booleanValue());
            case NUMBER -> to.writeNumber(node.asString());
            default -> to.writeNull();
        }
    }
}
