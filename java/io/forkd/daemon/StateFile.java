package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.files.FileLock;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What no folder tells: the workspaces. Sandboxes and snapshots are not in it; they are found where they are. It is
 * complete and on the disk whenever it can be seen, and one daemon's as long as that runs.
 */
final class StateFile implements AutoCloseable {
    private static final int VERSION = 1;

    private final Path file;
    private final FileLock lock;

    private StateFile(Path file, FileLock lock) {
        this.file = file;
        this.lock = lock;
    }

    /** Keeps others from it until it is closed. */
    static StateFile open(Path path) {
        Path file = path.toAbsolutePath();
        Path lock = file.resolveSibling(file.getFileName() + ".lock");
        try {
            Files.createDirectories(Objects.requireNonNull(file.getParent()));
            return new StateFile(
                    file,
                    FileLock.tryExclusive(lock)
                            .orElseThrow(() -> new ForkdException(
                                    Kind.CONFLICT,
                                    "another daemon has the state file " + file,
                                    "Stop it, or give this one another file.")));
        } catch (IOException e) {
            throw ForkdException.of("lock " + lock, e);
        }
    }

    /** Nothing when there is no such file. What cannot be understood is an error: it would be written over. */
    List<Workspace> read() {
        try {
            JsonNode root = Json.parse(Files.readAllBytes(file));
            JsonNode version = root.path("version");
            JsonNode all = root.path("workspaces");
            if (version.isIntegralNumber() && version.longValue() > VERSION) {
                throw new ForkdException(
                        Kind.UNSUPPORTED,
                        file + " was written by a newer version of forkd",
                        "Use that one, or give another file: sandboxes and snapshots are not in it.");
            }
            if (!root.isObject() || !(all.isObject() || all.isMissingNode())) {
                throw new IllegalArgumentException("it has no object of workspaces");
            }
            List<Workspace> workspaces = new ArrayList<>();
            for (JsonNode node : all) {
                workspaces.add(Workspace.of(node));
            }
            return workspaces;
        } catch (NoSuchFileException e) {
            return List.of();
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        } catch (JacksonException e) {
            throw damaged(e.getOriginalMessage());
        } catch (IllegalArgumentException | DateTimeException e) {
            throw damaged(String.valueOf(e.getMessage()));
        } catch (ForkdException e) {
            throw e.kind() == Kind.UNSUPPORTED ? e : damaged(e.sentence());
        }
    }

    private ForkdException damaged(String why) {
        return new ForkdException(
                Kind.DAMAGED,
                file + " is damaged: " + why,
                "Put a copy of it back, or move it away: sandboxes and snapshots are not in it, only the names of"
                        + " workspaces are.");
    }

    void write(Collection<Workspace> workspaces) {
        ObjectNode root = JsonNodeFactory.instance.objectNode().put("version", VERSION);
        ObjectNode all = root.putObject("workspaces");
        workspaces.forEach(workspace -> all.set(workspace.name().value(), workspace.toJson()));
        Path staged = file.resolveSibling(file.getFileName() + ".tmp");
        try {
            Files.createDirectories(Objects.requireNonNull(file.getParent()));
            Files.deleteIfExists(staged);
            Trees.writeNew(staged, Json.bytes(root));
            Trees.rename(staged, file);
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }

    @Override
    public void close() {
        lock.close();
    }
}
