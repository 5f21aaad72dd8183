package io.forkd.rootfs;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.Image;
import io.forkd.image.Layer;
import io.forkd.image.Work;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** Makes a disk image of a container image: layers in, ext4 out, nothing in between on the disk. */
final class RootfsBuilder {
    private static final int LAYERS_AHEAD = 2;
    private static final long UNPACKED_FACTOR = 16;
    private static final long UNPACKED_LEAST = 1L << 30;

    /** What the largest image has in memory while it is unpacked is there once. */
    private static final Semaphore UNPACKING = new Semaphore(1, true);

    private static final int LOOK_AGAIN_MS = 100;

    private final Path mkfs;
    private final Path guestBinary;
    private final Work work;

    RootfsBuilder(Path mkfs, Path guestBinary, Work work) {
        this.mkfs = mkfs;
        this.guestBinary = guestBinary;
        this.work = work;
    }

    /**
     * Makes the disk image, and returns the bytes that are in use.
     *
     * @throws ForkdException when its layers are so large that they cannot fit, before they are pulled
     */
    long build(Image image, List<Layer> layers, long bytes, byte[] identity, Path target) {
        if (image.missing() < 0 || image.missing() > most(bytes)) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    "the layers of the image have more bytes than a disk of " + (bytes >> 20) + " MiB takes");
        }
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

    private static long most(long bytes) {
        return bytes * UNPACKED_FACTOR + UNPACKED_LEAST;
    }

    /** What comes on top of the layers. */
    @FunctionalInterface
    private interface Top {
        void add(Merger merger, Ext4Writer writer);
    }

    private void awaitTurn() {
        try {
            if (UNPACKING.tryAcquire()) {
                return;
            }
            work.say("Another image is being unpacked, and this one is the next");
            while (!UNPACKING.tryAcquire(LOOK_AGAIN_MS, TimeUnit.MILLISECONDS)) {
                work.check();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    private long write(List<Layer> layers, long bytes, byte[] identity, List<String> command, Top top) {
        // Before its turn: however slow a registry is, nobody else waits for it.
        layers.forEach(Layer::fetch);
        layers.forEach(Layer::await);
        long most = most(bytes);
        Deque<Layer> waiting = new ArrayDeque<>(layers);
        List<Unpacked> open = new ArrayList<>();
        awaitTurn();
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
            UNPACKING.release();
        }
    }
}
