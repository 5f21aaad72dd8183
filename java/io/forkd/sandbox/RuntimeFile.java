package io.forkd.sandbox;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.Limits;
import io.forkd.Remedy;
import io.forkd.files.Trees;
import io.forkd.network.NetworkPolicy;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.DateTimeException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** A JSON file about something that runs. It is complete whenever it can be seen; a crash of the host may lose it. */
record RuntimeFile(Path file, ObjectNode root) {
    static Optional<RuntimeFile> read(Path file) {
        try {
            if (Json.parse(Files.readAllBytes(file)) instanceof ObjectNode root) {
                return Optional.of(new RuntimeFile(file, root));
            }
            throw damaged(file);
        } catch (NoSuchFileException e) {
            return Optional.empty();
        } catch (JacksonException e) {
            throw damaged(file);
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
    }

    static void write(Path file, ObjectNode node) {
        stage(file, node);
        place(file);
    }

    /** Writes it under a name that does not count. */
    static void stage(Path file, ObjectNode node) {
        try {
            Files.write(Trees.staged(file), Json.bytes(node));
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }

    /** Gives it its name, or leaves that to who was faster. */
    static void place(Path file) {
        try {
            Files.move(Trees.staged(file), file, StandardCopyOption.ATOMIC_MOVE);
        } catch (NoSuchFileException e) {
            if (!Files.exists(file)) {
                throw ForkdException.of("write " + file, e);
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }

    static ObjectNode node() {
        return JsonNodeFactory.instance.objectNode();
    }

    static void put(ObjectNode node, String field, Origin origin) {
        node.putObject(field)
                .put("tag", origin.tag())
                .put("created_at", origin.createdAt().toString());
    }

    Origin origin(String field) {
        RuntimeFile inner = new RuntimeFile(
                file, root.path(field) instanceof ObjectNode node ? node : JsonNodeFactory.instance.objectNode());
        return new Origin(inner.text("tag").orElseThrow(() -> damaged(file)), inner.instant("created_at"));
    }

    Optional<String> text(String field) {
        JsonNode value = root.path(field);
        return value.isString() ? Optional.of(value.stringValue()) : Optional.empty();
    }

    List<Path> paths(String field) {
        List<Path> found = new ArrayList<>();
        for (JsonNode value : root.path(field)) {
            if (!value.isString() || value.stringValue().indexOf('\0') >= 0) {
                throw damaged(file);
            }
            try {
                found.add(Path.of(value.stringValue()));
            } catch (InvalidPathException e) {
                throw new ForkdException(
                        Kind.FAILED,
                        file + " names " + value.stringValue() + ", which this locale cannot express",
                        "Set LC_ALL=C.UTF-8.");
            }
        }
        return found;
    }

    Optional<NetworkPolicy> network(String field) {
        try {
            return root.has(field) ? Optional.of(NetworkPolicy.of(root.path(field))) : Optional.empty();
        } catch (ForkdException e) {
            throw damaged(file);
        }
    }

    int number(String field) {
        JsonNode value = root.path(field);
        if (!value.isIntegralNumber() || !value.canConvertToInt()) {
            throw damaged(file);
        }
        return value.intValue();
    }

    OptionalLong count(String field) {
        JsonNode value = root.path(field);
        return value.isIntegralNumber() && value.canConvertToLong()
                ? OptionalLong.of(value.longValue())
                : OptionalLong.empty();
    }

    Limits limits() {
        return Limits.in(root).orElseThrow(() -> damaged(file));
    }

    Lifetime lifetime(String field) {
        try {
            return Lifetime.read(root.path(field));
        } catch (DateTimeException e) {
            throw damaged(file);
        }
    }

    Naming naming() {
        try {
            return Naming.read(root);
        } catch (ForkdException e) {
            throw damaged(file);
        }
    }

    Instant instant(String field) {
        try {
            return Instant.parse(text(field).orElseThrow(() -> damaged(file)));
        } catch (DateTimeException e) {
            throw damaged(file);
        }
    }

    private static ForkdException damaged(Path file) {
        return new ForkdException(Kind.DAMAGED, file + " is damaged", Remedy.Action.CLEAN_UP);
    }
}
