package io.forkd.rootfs;

import io.forkd.image.Image;
import io.forkd.image.Layer;
import io.forkd.image.Work;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/** Makes a disk image of a container image: layers in, ext4 out, nothing in between on the disk. */
final class RootfsBuilder {
    private static final int LAYERS_AHEAD = 2;
    private static final long UNPACKED_FACTOR = 16;
    private static final long UNPACKED_LEAST = 1L << 30;

    private final Path mkfs;
    private final Path guestBinary;
    private final Work work;

    RootfsBuilder(Path mkfs, Path guestBinary, Work work) {
        this.mkfs = mkfs;
        this.guestBinary = guestBinary;
        this.work = work;
    }

    /** Makes the disk image, and returns the bytes that are in use. */
    long build(Image image, List<Layer> layers, long bytes, byte[] identity, Path target) {
        return write(layers, bytes, identity, List.of(mkfs.toString(), target.toString()), (merger, writer) -> {
            new GuestFiles(merger.tree(), writer).add(image, guestBinary);
        });
    }

    /**
     * Makes a folder of the layers by a program that takes the same description. Its dev and proc are directories, on
     * which something can be mounted, whatever the layers have under these names.
     */
    static void unpack(List<Layer> layers, long bytes, List<String> command, Work work) {
        new RootfsBuilder(Path.of(""), Path.of(""), work)
                .write(layers, bytes, new byte[32], command, (merger, writer) -> {
                    Tree tree = merger.tree();
                    tree.putDirectory(new Tree.Place(tree.root(), "dev"));
                    tree.putDirectory(new Tree.Place(tree.root(), "proc"));
                });
    }

    /** What comes on top of the layers. */
    @FunctionalInterface
    private interface Top {
        void add(Merger merger, Ext4Writer writer);
    }

    private long write(List<Layer> layers, long bytes, byte[] identity, List<String> command, Top top) {
        layers.forEach(Layer::fetch);
        long most = bytes * UNPACKED_FACTOR + UNPACKED_LEAST;
        Deque<Layer> waiting = new ArrayDeque<>(layers);
        List<Unpacked> open = new ArrayList<>();
        try (Ext4Writer writer = Ext4Writer.start(command, bytes, identity)) {
            Merger merger = new Merger(writer, work);
            for (int i = 0; i < layers.size(); i++) {
                while (!waiting.isEmpty() && open.size() < i + LAYERS_AHEAD) {
                    open.add(new Unpacked(waiting.pop(), most));
                }
                merger.apply(layers.get(i), open.get(i));
            }
            top.add(merger, writer);
            return writer.finish(merger.tree());
        } finally {
            open.forEach(Unpacked::close);
        }
    }
}
