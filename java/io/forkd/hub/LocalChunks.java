package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What snapshots that were pulled or pushed here have in their files, so that it need not be pulled again. Each has a note
 * of it, {@value #NOTE}; what that says is looked at before it is believed, and one that is lost costs nothing but time.
 */
final class LocalChunks {
    static final String NOTE = ".chunks";

    private static final int MOST_BYTES = 8 << 20;

    private record Place(Path file, long offset) {}

    private final Map<String, Place> places = new HashMap<>();

    /**
     * @param snapshots folders of those that are here, of which there may be thousands
     * @param wanted what is kept in mind of what they have
     */
    LocalChunks(List<Path> snapshots, List<Chunk> wanted) {
        Set<String> contents =
                wanted.stream().map(chunk -> chunk.content().hex()).collect(Collectors.toSet());
        for (Path snapshot : snapshots) {
            try {
                Path note = snapshot.resolve(NOTE);
                if (Files.isRegularFile(note) && Files.size(note) <= MOST_BYTES) {
                    read(snapshot, Json.parse(Files.readAllBytes(note)), contents);
                }
            } catch (IOException | JacksonException e) {
                // It has none.
            }
        }
    }

    private void read(Path snapshot, JsonNode note, Set<String> wanted) {
        for (Map.Entry<String, JsonNode> file : note.properties()) {
            Path path = snapshot.resolve(file.getKey());
            int piece = file.getValue().path("piece").asInt(0);
            JsonNode contents = file.getValue().path("content");
            for (int i = 0; i < contents.size(); i++) {
                String content = contents.path(i).asString("");
                if (wanted.contains(content)) {
                    places.putIfAbsent(content, new Place(path, (long) i * piece));
                }
            }
        }
    }

    /** Its content, if a file here still has it. */
    Optional<byte[]> find(Chunk chunk) {
        Place place = places.get(chunk.content().hex());
        if (place == null) {
            return Optional.empty();
        }
        try (FileChannel file = FileChannel.open(place.file(), StandardOpenOption.READ)) {
            return chunk.in(file, place.offset());
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    /**
     * Notes what files have.
     *
     * @param files by their paths from the snapshot's folder, or absolute ones
     */
    static void note(Path snapshot, Map<String, ChunkedFile> files, List<Chunk> chunks) {
        ObjectNode note = JsonNodeFactory.instance.objectNode();
        files.forEach((name, file) -> {
            ObjectNode node = note.putObject(name).put("piece", file.piece());
            ArrayNode contents = node.putArray("content");
            file.chunks()
                    .forEach(number -> contents.add(
                            number == ChunkedFile.ZERO
                                    ? ""
                                    : chunks.get(number).content().hex()));
        });
        Path staged = snapshot.resolve(NOTE + ".new");
        try {
            Files.deleteIfExists(staged);
            Files.write(staged, Json.bytes(note));
            Trees.rename(staged, snapshot.resolve(NOTE));
        } catch (IOException | ForkdException e) {
            // The next pull fetches what it could have found.
        }
    }
}
