package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import com.networknt.schema.Schema;
import com.networknt.schema.SchemaLocation;
import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import io.forkd.Json;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** What the daemon says of itself, and answers held against it. A field that it does not name is a fault, too. */
final class Document {
    private static final String AT = "https://forkd.test/openapi.json";

    private final JsonNode root;
    private final SchemaRegistry schemas;

    Document() {
        try (InputStream resource = OpenApi.class.getResourceAsStream("openapi.json")) {
            root = Json.parse(resource.readAllBytes());
        } catch (IOException e) {
            throw new AssertionError(e);
        }
        root.path("components").path("schemas").forEach(Document::close);
        Map<String, String> texts = Map.of(AT, Json.text(root));
        schemas = SchemaRegistry.withDefaultDialect(
                SpecificationVersion.DRAFT_2020_12, builder -> builder.schemas(texts));
    }

    private static void close(JsonNode schema) {
        if (schema instanceof ObjectNode object && object.has("properties") && !object.has("additionalProperties")) {
            object.put("additionalProperties", false);
        }
    }

    /** Each operation as its method and its path, parameters with a colon. */
    List<String> operations() {
        List<String> rows = new ArrayList<>();
        root.path("paths")
                .properties()
                .forEach(path -> path.getValue()
                        .propertyNames()
                        .forEach(method -> rows.add(method.toUpperCase(Locale.ROOT) + " "
                                + path.getKey().replaceAll("\\{([^}]*)}", ":$1"))));
        return rows;
    }

    private Optional<JsonNode> operation(String method, String path) {
        return root.path("paths").properties().stream()
                .filter(each -> path.matches(each.getKey().replaceAll("\\{[^}]*}", "[^/]+")))
                .map(each -> each.getValue().path(method.toLowerCase(Locale.ROOT)))
                .filter(JsonNode::isObject)
                .findFirst();
    }

    /** Fails unless the document has such an answer to such a request. */
    void check(String method, String target, int status, String contentType, String body) {
        String what = method + " " + target + ": " + status + " " + contentType + " " + body;
        Optional<JsonNode> operation = operation(method, target.split("\\?", 2)[0]);
        if (operation.isEmpty()) {
            assertThat(status).as(what).isIn(400, 401, 404, 405);
            conforms(what, "/components/schemas/Error", body);
            return;
        }
        String at = "/paths/" + pointer(operation.get()) + "/responses/" + status;
        JsonNode response = root.at(at);
        assertThat(response.isObject()).as("undocumented: " + what).isTrue();
        if (response.has("$ref")) {
            at = response.path("$ref").stringValue().substring(1);
            response = root.at(at);
        }
        JsonNode content = response.path("content");
        assertThat(contentType).as(what).isIn(content.isEmpty() ? List.of("") : List.copyOf(content.propertyNames()));
        if (contentType.equals("application/json")) {
            conforms(what, at + "/content/application~1json/schema", body);
        } else if (contentType.equals("application/x-ndjson")) {
            for (String line : body.lines().toList()) {
                conforms(what, at + "/content/application~1x-ndjson/schema", line);
            }
        } else if (contentType.isEmpty()) {
            assertThat(body).as(what).isEmpty();
        }
    }

    private String pointer(JsonNode operation) {
        for (Map.Entry<String, JsonNode> path : root.path("paths").properties()) {
            for (Map.Entry<String, JsonNode> method : path.getValue().properties()) {
                if (method.getValue() == operation) {
                    return path.getKey().replace("/", "~1") + "/" + method.getKey();
                }
            }
        }
        throw new AssertionError("it is not in the document");
    }

    private void conforms(String what, String pointer, String body) {
        JsonNode json = Json.parse(body.getBytes(StandardCharsets.UTF_8));
        String fragment = pointer.replace("{", "%7B").replace("}", "%7D");
        Schema schema = schemas.getSchema(SchemaLocation.of(AT + "#" + fragment));
        assertThat(schema.validate(json)).as(what).isEmpty();
    }
}
