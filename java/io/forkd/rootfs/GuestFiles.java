package io.forkd.rootfs;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.image.Image;
import io.forkd.image.ImageConfig;
import io.forkd.rootfs.Directory.Entry;
import io.forkd.rootfs.Tree.Place;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** What a guest needs that a container gets from its engine. */
final class GuestFiles {
    /** Where a kernel looks that has no initrd; our init is a static program whatever its name says. */
    private static final String INIT = "forkd-init.sh";

    private static final String RESOLVERS = "nameserver 1.1.1.1\nnameserver 8.8.8.8\n";
    private static final String HOSTS =
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tforkd\n";

    private final Tree tree;
    private final Ext4Writer image;

    GuestFiles(Tree tree, Ext4Writer image) {
        this.tree = tree;
        this.image = image;
    }

    void add(Image of, Path guestBinary) {
        try {
            tree.beginLayer();
            for (String name : List.of("dev", "proc", "sys", "run", "tmp", "etc")) {
                directory(name, name.equals("tmp") ? 01777 : 0755);
            }
            try (InputStream in = Files.newInputStream(guestBinary)) {
                file(INIT, 0755, in, Files.size(guestBinary));
            }
            String workingDirectory = normal(of.config().workingDirectory());
            directory(workingDirectory, 0755);
            unlessThere("etc/resolv.conf", RESOLVERS);
            unlessThere("etc/hostname", "forkd\n");
            unlessThere("etc/hosts", HOSTS);
            text("etc/forkd/image.json", json(of, "/" + workingDirectory));
        } catch (BadLayerException e) {
            throw new ForkdException(Kind.DAMAGED, "the guest's own files cannot be added: " + e.getMessage());
        } catch (IOException e) {
            throw ForkdException.of("read " + guestBinary, e);
        }
    }

    private void directory(String name, int mode) throws BadLayerException {
        Optional<Inode> there = tree.follow(Names.ofText(name));
        if (there.isEmpty()) {
            Optional<Place> place = tree.place(Names.ofText(name), true);
            place.ifPresent(where -> tree.putDirectory(where).mode = mode);
        }
    }

    /** Without slashes at the ends, and without {@code ..}: of the root it is the root. Docker makes it, too. */
    private static String normal(String path) {
        Deque<String> parts = new ArrayDeque<>();
        for (String part : Names.components(path)) {
            if (!part.equals("..")) {
                parts.addLast(part);
            } else {
                parts.pollLast();
            }
        }
        return String.join("/", parts);
    }

    /** Docker mounts these over the image, which has them empty, or as links to what is not there. */
    private void unlessThere(String name, String content) throws IOException {
        Optional<Inode> there = tree.follow(name);
        boolean usable = there.filter(inode -> inode.type == Member.Type.FILE && inode.size > 0)
                .isPresent();
        if (!usable) {
            text(name, content);
        }
    }

    private void text(String name, String content) throws IOException {
        byte[] bytes = content.getBytes(StandardCharsets.UTF_8);
        file(name, 0644, new ByteArrayInputStream(bytes), bytes.length);
    }

    private void file(String name, int mode, InputStream content, long size) throws IOException {
        Place place = tree.place(name, true).orElseThrow(() -> new BadLayerException(name + " has no place"));
        if (place.entry().map(Entry::inode).orElse(null) instanceof Directory) {
            throw new BadLayerException("/" + name + " is a directory in the image");
        }
        Inode inode = new Inode(Member.Type.FILE);
        inode.mode = mode;
        inode.size = size;
        inode.blob = image.blob(content, size);
        tree.put(place, inode);
    }

    private static String json(Image image, String workingDirectory) {
        ImageConfig config = image.config();
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.put("version", 1).put("id", image.id().toString());
        addAll(json.putArray("env"), config.environment());
        json.put("working_dir", workingDirectory).put("user", config.user());
        addAll(json.putArray("entrypoint"), config.entrypoint());
        addAll(json.putArray("cmd"), config.command());
        return Json.text(json) + "\n";
    }

    private static void addAll(ArrayNode array, List<String> values) {
        values.forEach(array::add);
    }
}
