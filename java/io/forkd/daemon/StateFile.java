package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What no folder tells: the workspaces. Sandboxes and snapshots are not in it; they are found where they are. It is
 * complete and on the disk whenever it can be seen.
 */
final class StateFile {
    private final Path file;

    StateFile(Path file) {
        this.file = file.toAbsolutePath();
    }

    /** Nothing when there is no such file. What cannot be understood is an error: it would be written over. */
    List<Workspace> read() {
        try {
            List<Workspace> workspaces = new ArrayList<>();
            JsonNode root = Json.parse(Files.readAllBytes(file));
            if (!root.isObject()) {
                throw new IllegalArgumentException("it is no object");
            }
            for (JsonNode node : root.path("workspaces")) {
                workspaces.add(Workspace.of(node));
            }
            return workspaces;
        } catch (NoSuchFileException e) {
            return List.of();
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        } catch (JacksonException | IllegalArgumentException | DateTimeException | ForkdException e) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    file + " is damaged: " + e.getMessage(),
                    "Put a copy of it back, or move it away: sandboxes and snapshots are not in it, only the names of"
                            + " workspaces are.");
        }
    }

    void write(Collection<Workspace> workspaces) {
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        ObjectNode all = root.putObject("workspaces");
        workspaces.forEach(workspace -> all.set(workspace.name().value(), workspace.toJson()));
        Path staged = file.resolveSibling(file.getFileName() + ".tmp");
        try {
            Path parent = file.getParent();
            if (parent != null) {
                Files.createDirectories(parent);
            }
            Files.deleteIfExists(staged);
            Trees.writeNew(staged, Json.bytes(root));
            Trees.rename(staged, file);
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }
}
