package io.forkd.pack;

import io.forkd.ForkdException;
import io.forkd.pack.PackManifest.Link;
import io.forkd.pack.PackManifest.Member;
import io.forkd.pack.PackManifest.Parent;
import io.forkd.pack.PackManifest.Rootfs;
import io.forkd.snapshot.SnapshotTag;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;
import tools.jackson.dataformat.toml.TomlFactory;
import tools.jackson.dataformat.toml.TomlMapper;

/** Reads and writes {@code manifest.toml}. */
final class ManifestToml {
    /** One of 33 snapshots has some 30 KiB. */
    static final int MOST_BYTES = 1 << 20;

    /** Snapshots of a chain: as many as can be forked. */
    private static final int MOST_LINKS = 33;

    /** {@code [[chain]]}, {@code files} in it, and a table in that. */
    private static final int DEEPEST = 8;

    private static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");

    /** What a snapshot may consist of; nothing else is ever written. */
    private static final Pattern FILES = Pattern.compile(
            "snapshot\\.json|vmstate|memory\\.bin|memory\\.layer|rootfs\\.ext4|disk-([0-9]|1[0-9]|2[0-4])\\.layer"
                    + "|working-set");

    /** What is read whole has to be small. */
    private static final long MOST_OF_JSON = 1 << 20;

    private static final long MOST_OF_STATE = 64 << 20;

    private final Refusal refusal;

    /** @param refusal names the pack */
    ManifestToml(Refusal refusal) {
        this.refusal = refusal;
    }

    static byte[] encode(PackManifest manifest) {
        StringBuilder toml = new StringBuilder();
        Link head = manifest.head();
        put(toml, "forkd_pack_version", manifest.chained() ? 2 : 1);
        put(toml, "tag", head.tag().value());
        manifest.description().ifPresent(text -> put(toml, "description", text));
        manifest.baseImage().ifPresent(text -> put(toml, "base_image", text));
        put(
                toml,
                "created_at",
                manifest.createdAt().truncatedTo(ChronoUnit.SECONDS).toString());
        put(toml, "forkd_version", manifest.forkdVersion());
        head.parent().ifPresent(parent -> put(toml, "parent_tag", parent.tag().value()));
        if (manifest.chained()) {
            toml.append("files = []\n");
        } else {
            putFiles(toml, head);
        }
        manifest.rootfs().ifPresent(rootfs -> {
            toml.append("\n[rootfs]\n");
            put(toml, "target_path", rootfs.target());
            put(toml, "sha256", rootfs.sha256());
            put(toml, "size", rootfs.bytes());
        });
        for (Link link : manifest.chained() ? manifest.links() : List.<Link>of()) {
            toml.append("\n[[chain]]\n");
            put(toml, "tag", link.tag().value());
            link.parent().ifPresent(parent -> {
                put(toml, "parent_tag", parent.tag().value());
                put(toml, "parent_content_hash", parent.contentHash());
            });
            putFiles(toml, link);
        }
        return toml.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static void putFiles(StringBuilder toml, Link link) {
        toml.append("files = [\n");
        for (Member file : link.files()) {
            toml.append("    { path = ")
                    .append(quoted(file.name()))
                    .append(", size = ")
                    .append(file.bytes())
                    .append(", sha256 = ")
                    .append(quoted(file.sha256()))
                    .append(" },\n");
        }
        toml.append("]\n");
    }

    private static void put(StringBuilder toml, String key, String value) {
        toml.append(key).append(" = ").append(quoted(value)).append('\n');
    }

    private static void put(StringBuilder toml, String key, long value) {
        toml.append(key).append(" = ").append(value).append('\n');
    }

    /** A basic string of TOML. */
    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c < ' ' || c == 0x7f) {
                quoted.append(String.format("\\u%04X", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }

    PackManifest decode(byte[] toml) {
        JsonNode root = parse(toml);
        long version = number(root, "forkd_pack_version");
        if (version > PackManifest.VERSION) {
            throw refusal.of(
                    ForkdException.Kind.UNSUPPORTED,
                    "it has the pack format " + version + ", which is newer than " + PackManifest.VERSION
                            + ", the newest that this forkd reads",
                    "Use a newer forkd.");
        }
        if (version < 1) {
            throw refusal.of("it has the pack format " + version + ", which there is none of");
        }
        SnapshotTag head = tag(root, "tag");
        List<Link> links = new ArrayList<>();
        for (ObjectNode link : tables(root, "chain")) {
            links.add(new Link(tag(link, "tag"), parent(link), files(link)));
        }
        boolean chained = !links.isEmpty();
        if (!chained) {
            links.add(new Link(head, Optional.empty(), files(root)));
        } else if (!files(root).isEmpty()) {
            throw refusal.of("manifest.toml has a chain and \"files\" beside it");
        }
        requireChain(links, head);
        return new PackManifest(
                optional(root, "description"),
                optional(root, "base_image"),
                instant(string(root, "created_at")),
                string(root, "forkd_version"),
                links,
                chained,
                rootfs(root.path("rootfs")));
    }

    /** Whatever the parser makes of it: its errors are those of the document. */
    private JsonNode parse(byte[] toml) {
        TomlFactory factory = TomlFactory.builder()
                .streamReadConstraints(StreamReadConstraints.builder()
                        .maxNestingDepth(DEEPEST)
                        .maxNumberLength(20)
                        .maxDocumentLength(MOST_BYTES)
                        .build())
                .build();
        try {
            return new TomlMapper(factory).readTree(new String(toml, StandardCharsets.UTF_8));
        } catch (JacksonException e) {
            throw refusal.of("manifest.toml is no TOML: " + Refusal.quoted(e.getOriginalMessage()));
        } catch (StackOverflowError e) {
            throw refusal.of("manifest.toml is no TOML: it is nested too deep");
        } catch (RuntimeException e) {
            throw refusal.of("manifest.toml is no TOML: " + Refusal.quoted(e.toString()));
        }
    }

    private void requireChain(List<Link> links, SnapshotTag head) {
        if (links.size() > MOST_LINKS) {
            throw refusal.of("its chain has " + links.size() + " snapshots, and " + MOST_LINKS + " can be forked");
        }
        Set<SnapshotTag> seen = new HashSet<>();
        Optional<SnapshotTag> before = Optional.empty();
        for (Link link : links) {
            if (!seen.add(link.tag())) {
                throw refusal.of("its chain is a cycle: '" + link.tag() + "' is there twice");
            }
            if (!link.parent().map(Parent::tag).equals(before)) {
                throw refusal.of("the parent of '" + link.tag() + "' is "
                        + link.parent().map(parent -> "'" + parent.tag() + "'").orElse("none") + ", and not "
                        + before.map(tag -> "'" + tag + "', which is before it")
                                .orElse("none, although it is the first"));
            }
            before = Optional.of(link.tag());
        }
        if (!before.equals(Optional.of(head))) {
            throw refusal.of("its chain ends with '" + before.orElse(head) + "', and it is of '" + head + "'");
        }
    }

    private List<Member> files(JsonNode of) {
        List<Member> files = new ArrayList<>();
        Set<String> seen = new HashSet<>();
        for (ObjectNode node : tables(of, "files")) {
            Member file = new Member(string(node, "path"), number(node, "size"), sha256(node, "sha256"));
            if (!FILES.matcher(file.name()).matches()) {
                throw refusal.of("manifest.toml names " + Refusal.quoted(file.name())
                        + ", which is no file that a snapshot has");
            }
            if (!seen.add(file.name())) {
                throw refusal.of("manifest.toml names '" + file.name() + "' twice");
            }
            requireSize(file);
            files.add(file);
        }
        return files;
    }

    private void requireSize(Member file) {
        long most = switch (file.name()) {
            case "snapshot.json" -> MOST_OF_JSON;
            case "vmstate", "working-set" -> MOST_OF_STATE;
            default -> Long.MAX_VALUE;
        };
        if (file.bytes() > most) {
            throw refusal.of("'" + file.name() + "' has " + file.bytes() + " bytes, and " + most + " are allowed");
        }
    }

    private Optional<Parent> parent(ObjectNode link) {
        return link.has("parent_tag")
                ? Optional.of(new Parent(tag(link, "parent_tag"), sha256(link, "parent_content_hash")))
                : Optional.empty();
    }

    private Optional<Rootfs> rootfs(JsonNode node) {
        if (node.isMissingNode()) {
            return Optional.empty();
        }
        return Optional.of(new Rootfs(string(node, "target_path"), sha256(node, "sha256"), number(node, "size")));
    }

    private SnapshotTag tag(JsonNode node, String key) {
        String text = string(node, key);
        if (text.startsWith("-")) {
            throw refusal.of("the tag " + Refusal.quoted(text) + " begins with -");
        }
        try {
            return new SnapshotTag(text);
        } catch (ForkdException e) {
            throw refusal.of(e.sentence());
        }
    }

    private String sha256(JsonNode node, String key) {
        String text = string(node, key);
        if (!SHA256.matcher(text).matches()) {
            throw refusal.of("manifest.toml has a \"" + key + "\" that is no SHA-256");
        }
        return text;
    }

    private Instant instant(String text) {
        try {
            return Instant.parse(text);
        } catch (DateTimeException e) {
            throw refusal.of("manifest.toml has a \"created_at\" that is no time");
        }
    }

    private String string(JsonNode node, String key) {
        return optional(node, key).orElseThrow(() -> refusal.of("manifest.toml lacks \"" + key + "\""));
    }

    private Optional<String> optional(JsonNode node, String key) {
        JsonNode value = node.path(key);
        if (value.isMissingNode()) {
            return Optional.empty();
        }
        if (!value.isString()) {
            throw refusal.of("manifest.toml has a \"" + key + "\" that is no string");
        }
        return Optional.of(value.stringValue());
    }

    private long number(JsonNode node, String key) {
        JsonNode value = node.path(key);
        if (value.isMissingNode()) {
            throw refusal.of("manifest.toml lacks \"" + key + "\"");
        }
        if (!value.isIntegralNumber() || !value.canConvertToLong() || value.longValue() < 0) {
            throw refusal.of("manifest.toml has a \"" + key + "\" that is no number of bytes, or of a version");
        }
        return value.longValue();
    }

    private List<ObjectNode> tables(JsonNode node, String key) {
        JsonNode value = node.path(key);
        List<ObjectNode> tables = new ArrayList<>();
        if (value.isMissingNode()) {
            return tables;
        }
        for (JsonNode element : value) {
            if (!(element instanceof ObjectNode table)) {
                throw refusal.of("manifest.toml has a \"" + key + "\" that is no list of tables");
            }
            tables.add(table);
        }
        if (!value.isArray()) {
            throw refusal.of("manifest.toml has a \"" + key + "\" that is no list of tables");
        }
        return tables;
    }
}
