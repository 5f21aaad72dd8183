package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.snapshot.Manifest.ManifestDisk;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.IntConsumer;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.MissingNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * The SHA-256 of what a snapshot restores to, however it is laid out in files; docs/formats.md says over which bytes.
 * It is noted in the snapshot's directory together with the sizes and times of the files, and calculated again only
 * when one of those has changed.
 */
public final class ContentHash {
    static final String NOTE = "content.json";
    private static final String STAGED = "." + NOTE;

    /** Java has no other sign of it. It is what the kernel says of a page that is not what fs-verity knows of it. */
    private static final String EIO = "Input/output error";

    private static final String VERITY = "verity";
    private static final byte[] ZEROES = new byte[LayerFile.PAGE];

    private ContentHash() {}

    /** The noted hash, if the files are those that it was calculated of. */
    public static Optional<String> noted(Snapshot snapshot) {
        JsonNode note = note(snapshot);
        try {
            return note.isObject() && note.path("files").equals(files(snapshot))
                    ? Optional.of(note.path("sha256").asString())
                    : Optional.empty();
        } catch (IOException e) {
            throw ForkdException.of("look at the files of the snapshot '" + snapshot.tag() + "'", e);
        }
    }

    /** The hash that it had when that was noted, whatever has become of its files. */
    public static Optional<String> before(Snapshot snapshot) {
        return Optional.of(note(snapshot).path("sha256").asString("")).filter(hash -> !hash.isEmpty());
    }

    /** The digest of fs-verity that its memory has to have; noted by {@link #noteVerity}. */
    public static Optional<String> verity(Snapshot snapshot) {
        return Optional.of(note(snapshot).path(VERITY).asString("")).filter(digest -> !digest.isEmpty());
    }

    /** Notes that digest beside the hash, or that there is none any more. Without a hash there is nothing to note it of. */
    public static void noteVerity(Snapshot snapshot, Optional<String> digest) {
        if (!verity(snapshot).equals(digest) && note(snapshot) instanceof ObjectNode node && node.has("sha256")) {
            node.remove(VERITY);
            digest.ifPresent(there -> node.put(VERITY, there));
            write(snapshot, node);
        }
    }

    /** What cannot be read is calculated again. */
    private static JsonNode note(Snapshot snapshot) {
        try {
            return Json.parse(Files.readAllBytes(snapshot.directory().resolve(NOTE)));
        } catch (IOException | JacksonException e) {
            return MissingNode.getInstance();
        }
    }

    /**
     * Calculates the hash and notes it.
     *
     * @param memory the whole memory
     * @param layers of each disk, that of the first of the chain first
     * @param percent hears how much of the memory is done
     */
    public static String calculate(Snapshot snapshot, Path memory, List<List<Path>> layers, IntConsumer percent) {
        try {
            JsonNode files = files(snapshot);
            String hash = ofFiles(snapshot, memory, layers, percent);
            if (!files.equals(files(snapshot))) {
                throw new ForkdException(
                        Kind.CONFLICT,
                        "the snapshot '" + snapshot.tag() + "' was replaced or removed at this moment",
                        "Try again.");
            }
            if (before(snapshot).filter(old -> !old.equals(hash)).isEmpty()) {
                note(snapshot, hash, files); // Else it is damaged, and that is to be found again.
            }
            return hash;
        } catch (IOException e) {
            throw ForkdException.of("read the snapshot '" + snapshot.tag() + "'", e);
        }
    }

    /** The same without the note: of what the files have now, whatever was known of them. */
    public static String ofFiles(Snapshot snapshot, Path memory, List<List<Path>> layers, IntConsumer percent) {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            digest.update("forkd content 1\n".getBytes(StandardCharsets.US_ASCII));
            byte[] vmstate = Files.readAllBytes(snapshot.vmstate());
            digest.update(number(vmstate.length));
            digest.update(vmstate);
            addMemory(digest, memory, percent);
            for (int i = 0; i < layers.size(); i++) {
                ManifestDisk disk = snapshot.manifest().disks().get(i);
                digest.update(number(disk.bytes()));
                digest.update(number(disk.modified().orElse(0)));
                addLayers(digest, layers.get(i));
            }
            return HexFormat.of().formatHex(digest.digest());
        } catch (IOException e) {
            ForkdException failure = ForkdException.of("read the snapshot '" + snapshot.tag() + "'", e);
            if (ForkdException.reason(e).equals(EIO)) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        "the snapshot '" + snapshot.tag() + "' is damaged: " + failure.sentence(),
                        "Pull it again, or take it again.");
            }
            throw failure;
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }

    private static void addMemory(MessageDigest digest, Path memory, IntConsumer percent) throws IOException {
        try (FileChannel channel = FileChannel.open(memory, StandardOpenOption.READ)) {
            digest.update(number(channel.size()));
            ByteBuffer chunk = ByteBuffer.allocate(256 * LayerFile.PAGE);
            long page = 0;
            int told = 0;
            while (channel.read(chunk) >= 0) {
                if (chunk.hasRemaining() && channel.position() < channel.size()) {
                    continue;
                }
                for (int at = 0; at < chunk.position(); at += LayerFile.PAGE, page++) {
                    if (!Arrays.equals(chunk.array(), at, at + LayerFile.PAGE, ZEROES, 0, LayerFile.PAGE)) {
                        digest.update(number(page));
                        digest.update(chunk.array(), at, LayerFile.PAGE);
                    }
                }
                chunk.clear();
                int done = (int) (100 * channel.position() / channel.size());
                if (done != told) {
                    told = done;
                    percent.accept(done);
                }
            }
            digest.update(number(-1));
        }
    }

    /** The newest layer that has a page decides. */
    private static void addLayers(MessageDigest digest, List<Path> paths) throws IOException {
        List<LayerFile> layers = new ArrayList<>();
        try {
            for (Path path : paths) {
                layers.add(LayerFile.open(path));
            }
            ByteBuffer content = ByteBuffer.allocate(LayerFile.PAGE);
            while (true) {
                long page = LayerFile.END;
                for (LayerFile layer : layers) {
                    page = Math.min(page, layer.page());
                }
                if (page == LayerFile.END) {
                    break;
                }
                boolean zero = true;
                for (LayerFile layer : layers) {
                    if (layer.page() == page) {
                        zero = !layer.read(content) || Arrays.equals(content.array(), ZEROES);
                        layer.next();
                    }
                }
                digest.update(number(page));
                digest.update(zero ? ZEROES : content.array());
            }
            digest.update(number(-1));
        } finally {
            for (LayerFile layer : layers) {
                layer.close();
            }
        }
    }

    private static byte[] number(long value) {
        return ByteBuffer.allocate(Long.BYTES)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(value)
                .array();
    }

    /**
     * A note that is lost, or cannot be written, costs time and nothing else: it is not waited for. What a process that
     * died in the midst of it left has the next one's name; of two at once one may spoil the other's.
     */
    private static void note(Snapshot snapshot, String hash, JsonNode files) {
        ObjectNode node = JsonNodeFactory.instance.objectNode().put("sha256", hash);
        node.set("files", files);
        verity(snapshot).ifPresent(digest -> node.put(VERITY, digest));
        write(snapshot, node);
    }

    private static void write(Snapshot snapshot, ObjectNode node) {
        if (!Files.isWritable(snapshot.directory())) {
            return;
        }
        try {
            Path staged = snapshot.directory().resolve(STAGED);
            try {
                Files.write(staged, Json.bytes(node));
                Files.move(staged, snapshot.directory().resolve(NOTE), StandardCopyOption.ATOMIC_MOVE);
            } finally {
                Files.deleteIfExists(staged);
            }
        } catch (IOException e) {
            // It is calculated again.
        }
    }

    /** The files that the snapshot itself wrote. What it has of its ancestors has hashes of its own. */
    private static JsonNode files(Snapshot snapshot) throws IOException {
        List<Path> files = new ArrayList<>(List.of(snapshot.vmstate(), snapshot.memory()));
        for (int i = 0; i < snapshot.manifest().disks().size(); i++) {
            snapshot.layer(i).ifPresent(files::add);
        }
        ObjectNode node = JsonNodeFactory.instance.objectNode();
        for (Path file : files) {
            node.put(
                    String.valueOf(file.getFileName()),
                    Files.size(file) + " bytes, "
                            + Files.getLastModifiedTime(file).to(TimeUnit.NANOSECONDS));
        }
        return node;
    }
}
