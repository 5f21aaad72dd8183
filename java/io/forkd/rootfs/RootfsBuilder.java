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

    /** Returns the bytes that are in use. */
    long build(Image image, List<Layer> layers, long bytes, byte[] identity, Path target) {
        layers.forEach(Layer::fetch);
        long most = bytes * UNPACKED_FACTOR + UNPACKED_LEAST;
        Deque<Layer> waiting = new ArrayDeque<>(layers);
        List<Unpacked> open = new ArrayList<>();
        try (Ext4Writer writer = Ext4Writer.start(mkfs, target, bytes, identity)) {
            Merger merger = new Merger(writer, work);
            for (int i = 0; i < layers.size(); i++) {
                while (!waiting.isEmpty() && open.size() < i + LAYERS_AHEAD) {
                    open.add(new Unpacked(waiting.pop(), most));
                }
                merger.apply(layers.get(i), open.get(i));
            }
            new GuestFiles(merger.tree(), writer).add(image, guestBinary);
            return writer.finish(merger.tree());
        } finally {
            open.forEach(Unpacked::close);
        }
    }
}
