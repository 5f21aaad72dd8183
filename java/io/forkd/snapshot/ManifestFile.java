package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.Limits;
import io.forkd.network.NetworkPolicy;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Manifest.Parent;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.time.DateTimeException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Reads and writes {@code snapshot.json}. */
final class ManifestFile {
    /** Of the files that were read last: an operation reads one several times, and a service the same ones all the time. */
    private static final int KEPT = 256;

    private static final Map<Path, Decoded> DECODED =
            Collections.synchronizedMap(new LinkedHashMap<>(KEPT, 0.75f, true) {
                private static final long serialVersionUID = 1;

                @Override
                protected boolean removeEldestEntry(Map.Entry<Path, Decoded> eldest) {
                    return size() > KEPT;
                }
            });

    private record Decoded(Version version, Manifest manifest) {}

    /** What tells a file from the one that had its name before: those that are replaced are other files. */
    private record Version(@Nullable Object key, FileTime modified, long size) {
        static Version of(Path file) throws IOException {
            BasicFileAttributes attributes = Files.readAttributes(file, BasicFileAttributes.class);
            return new Version(attributes.fileKey(), attributes.lastModifiedTime(), attributes.size());
        }
    }

    private final Path file;

    ManifestFile(Path file) {
        this.file = file;
    }

    static byte[] encode(Manifest manifest) {
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        root.put("vmstate", manifest.vmstate().toString());
        root.put("memory", manifest.memory().toString());
        ArrayNode volumes = root.putArray("volumes");
        for (Volume volume : manifest.volumes()) {
            volumes.addObject()
                    .put("host_path", volume.hostPath().toString())
                    .put("guest_path", volume.guestPath())
                    .put("read_only", volume.readOnly());
        }
        root.put("rootfs", manifest.rootfs().toString());
        manifest.parent()
                .ifPresent(parent ->
                        root.put("parent_tag", parent.tag().value()).put("parent_content_hash", parent.contentHash()));

        root.put("format", Manifest.FORMAT);
        root.put("forkd_version", manifest.machine().version());
        root.put("created_at", manifest.createdAt().toString());
        root.put("memory_bytes", manifest.memoryBytes());
        root.put("vcpus", manifest.machine().vcpus());
        root.put("kernel", manifest.machine().kernel().toString());
        manifest.machine().initrd().ifPresent(initrd -> root.put("initrd", initrd.toString()));
        root.put("command_line", manifest.machine().commandLine());
        manifest.machine().tap().ifPresent(tap -> root.put("tap", tap));
        if (!manifest.machine().limits().equals(Limits.NONE)) {
            manifest.machine().limits().put(root.putObject("limits"));
        }
        manifest.network().ifPresent(policy -> root.set("network", policy.toJson()));
        ArrayNode disks = root.putArray("disks");
        for (ManifestDisk disk : manifest.disks()) {
            ObjectNode node = disks.addObject()
                    .put("image", disk.image().toString())
                    .put("read_only", disk.readOnly())
                    .put("bytes", disk.bytes());
            disk.modified().ifPresent(modified -> node.put("modified", modified));
            disk.layer().ifPresent(layer -> node.put("layer", layer.file()).put("layer_bytes", layer.bytes()));
        }
        manifest.rest().propertyStream().forEach(field -> root.set(field.getKey(), field.getValue()));
        return (root.toPrettyString() + "\n").getBytes(StandardCharsets.UTF_8);
    }

    /** As it is now; decoded anew when it is another file, or has been written to. */
    Manifest read() {
        try {
            Version now = Version.of(file);
            Decoded known = DECODED.get(file);
            if (known != null && known.version().equals(now)) {
                return known.manifest();
            }
            Manifest manifest = decode(Files.readAllBytes(file));
            if (Version.of(file).equals(now)) {
                DECODED.put(file, new Decoded(now, manifest));
            }
            return manifest;
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
    }

    Manifest decode(byte[] content) {
        ObjectNode root;
        try {
            if (!(Json.parse(content) instanceof ObjectNode object)) {
                throw damaged("it is not a JSON object");
            }
            root = object;
        } catch (JacksonException e) {
            throw damaged(e.getOriginalMessage() + " (line "
                    + (e.getLocation() == null ? 0 : e.getLocation().getLineNr()) + ")");
        }
        Path vmstate = path(root, "vmstate");
        Path memory = path(root, "memory");
        Path rootfs = path(root, "rootfs");
        List<Volume> volumes = new ArrayList<>();
        for (ObjectNode volume : objects(root, "volumes")) {
            try {
                volumes.add(new Volume(
                        path(volume, "host_path"),
                        string(volume, "guest_path"),
                        volume.path("read_only").asBoolean(false)));
            } catch (ForkdException e) {
                throw damaged(e.sentence());
            }
        }
        Optional<Parent> parent = optional(root, "parent_tag").map(tag -> parent(tag, root));
        long format = number(root, "format");
        if (format != Manifest.FORMAT) {
            throw new ForkdException(
                    Kind.UNSUPPORTED,
                    file + " has format " + format + ", and this forkd reads " + Manifest.FORMAT,
                    format > Manifest.FORMAT ? "Use a newer forkd." : "");
        }
        List<ManifestDisk> disks = new ArrayList<>();
        for (ObjectNode disk : objects(root, "disks")) {
            Optional<Layer> layer =
                    optional(disk, "layer").map(name -> new Layer(fileName(name), number(disk, "layer_bytes")));
            disks.add(new ManifestDisk(
                    path(disk, "image"),
                    disk.path("read_only").asBoolean(false),
                    number(disk, "bytes"),
                    disk.has("modified") ? OptionalLong.of(integer(disk, "modified")) : OptionalLong.empty(),
                    layer));
        }
        Machine machine = new Machine(
                vcpus(root),
                path(root, "kernel"),
                optional(root, "initrd").map(this::toPath),
                string(root, "command_line"),
                optional(root, "tap"),
                limits(root),
                string(root, "forkd_version"));
        Optional<NetworkPolicy> network = network(root);
        Instant createdAt = instant(string(root, "created_at"));
        long memoryBytes = number(root, "memory_bytes");
        root.remove(List.of(
                "vmstate",
                "memory",
                "volumes",
                "rootfs",
                "parent_tag",
                "parent_content_hash",
                "format",
                "forkd_version",
                "created_at",
                "memory_bytes",
                "vcpus",
                "kernel",
                "initrd",
                "command_line",
                "tap",
                "limits",
                "network",
                "disks"));
        return new Manifest(
                vmstate, memory, memoryBytes, volumes, rootfs, parent, disks, machine, network, createdAt, root);
    }

    private int vcpus(ObjectNode root) {
        long vcpus = number(root, "vcpus");
        if (vcpus > Integer.MAX_VALUE) {
            throw damaged("the field \"vcpus\" is larger than any machine");
        }
        return (int) vcpus;
    }

    private Optional<NetworkPolicy> network(ObjectNode root) {
        try {
            return root.has("network") ? Optional.of(NetworkPolicy.of(root.path("network"))) : Optional.empty();
        } catch (ForkdException e) {
            throw damaged(e.sentence());
        }
    }

    private Limits limits(ObjectNode root) {
        JsonNode value = root.path("limits");
        if (value.isMissingNode()) {
            return Limits.NONE;
        }
        Optional<Limits> limits = value instanceof ObjectNode object ? Limits.in(object) : Optional.empty();
        return limits.orElseThrow(() -> damaged("its \"limits\" are none"));
    }

    private Parent parent(String tag, ObjectNode root) {
        String hash = string(root, "parent_content_hash");
        if (!hash.matches("[0-9a-f]{64}")) {
            throw damaged("the field \"parent_content_hash\" is no SHA-256");
        }
        try {
            return new Parent(new SnapshotTag(tag), hash);
        } catch (ForkdException e) {
            throw damaged(e.sentence());
        }
    }

    private String string(ObjectNode node, String field) {
        return optional(node, field).orElseThrow(() -> damaged("the field \"" + field + "\" is missing"));
    }

    private Optional<String> optional(ObjectNode node, String field) {
        JsonNode value = node.path(field);
        if (value.isMissingNode() || value.isNull()) {
            return Optional.empty();
        }
        if (!value.isString()) {
            throw damaged("the field \"" + field + "\" is not a string");
        }
        return Optional.of(value.stringValue());
    }

    private long number(ObjectNode node, String field) {
        long value = integer(node, field);
        if (value < 0) {
            throw damaged("the field \"" + field + "\" is negative");
        }
        return value;
    }

    private long integer(ObjectNode node, String field) {
        JsonNode value = node.path(field);
        if (!value.isIntegralNumber() || !value.canConvertToLong()) {
            throw damaged("the field \"" + field + "\" is missing or not a number");
        }
        return value.longValue();
    }

    private List<ObjectNode> objects(ObjectNode node, String field) {
        List<ObjectNode> found = new ArrayList<>();
        for (JsonNode element : node.path(field)) {
            if (!(element instanceof ObjectNode object)) {
                throw damaged("\"" + field + "\" is not a list of objects");
            }
            found.add(object);
        }
        return found;
    }

    private Path path(ObjectNode node, String field) {
        return toPath(string(node, field));
    }

    private Path toPath(String text) {
        try {
            return Path.of(text);
        } catch (InvalidPathException e) {
            throw damaged("'" + text + "' is not a path");
        }
    }

    /** A layer lies in the snapshot's own directory, whatever a manifest from elsewhere may say. */
    private String fileName(String text) {
        if (text.isEmpty() || text.equals(".") || text.equals("..") || text.indexOf('/') >= 0) {
            throw damaged("'" + text + "' is not a file name");
        }
        return text;
    }

    private Instant instant(String text) {
        try {
            return Instant.parse(text);
        } catch (DateTimeException e) {
            throw damaged("'" + text + "' is not a time");
        }
    }

    private ForkdException damaged(String why) {
        return new ForkdException(Kind.DAMAGED, file + " is damaged: " + why, "Take the snapshot again.");
    }
}
