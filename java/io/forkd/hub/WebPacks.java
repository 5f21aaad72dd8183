package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.Packs;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Room;
import io.forkd.image.Digest;
import io.forkd.image.Reach;
import io.forkd.image.WebFile;
import io.forkd.image.Work;
import io.forkd.pack.PackManifest;
import io.forkd.pack.PackManifest.Rootfs;
import io.forkd.pack.PackReader;
import io.forkd.rootfs.RootfsCache;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** Packs at addresses of the web, with the file that has their root disk beside them. */
public final class WebPacks {
    private static final String PACK = "pack.forkd-snapshot.tar.zst";

    /** The manifest of a pack is within. */
    private static final long BEGINNING = 2 << 20;

    private final Engine engine;
    private final Reach reach;
    private final Work work;
    private final Call call;

    public WebPacks(Engine engine, Reach reach, Work work, Call call) {
        this.engine = engine;
        this.reach = reach;
        this.work = work;
        this.call = call;
    }

    /**
     * What is wanted.
     *
     * @param sha256 that the pack has to have; empty: any
     * @param as the tag that a single snapshot gets here; empty: the one that it had
     * @param replace whether snapshots of these tags are replaced
     * @param volumes of this machine that it is to have
     */
    public record Order(
            URI from, Optional<Digest> sha256, Optional<SnapshotTag> as, boolean replace, List<Volume> volumes) {}

    /**
     * What came of it.
     *
     * @param digest of the pack
     * @param bytes of all files in it
     * @param fetched of the pack, and of the root disk if that was not here
     */
    public record Pulled(Packs.Unpacked unpacked, Digest digest, long bytes, long fetched) {}

    /** Gets a pack and unpacks it: all of it, or nothing. */
    public Pulled pull(Order order, RootfsCache images, TrustPolicy policy) {
        policy.requireNoSignature(WebFile.shown(order.from()));
        engine.store().sweep();
        order.as().filter(tag -> !order.replace()).ifPresent(engine.store()::requireFree);
        try (OwnedDirectory staged = engine.store().stage(order.as().orElse(new SnapshotTag("pull")))) {
            Path pack = staged.path().resolve(PACK);
            try {
                return pull(order, images, pack);
            } catch (ForkdException e) {
                // It is known by where it came from.
                throw new ForkdException(
                        e.kind(),
                        e.sentence()
                                .replace(pack.toString(), WebFile.shown(order.from()))
                                .replace(staged.path() + "/", ""),
                        e.remedy());
            }
        }
    }

    private Pulled pull(Order order, RootfsCache images, Path pack) {
        Reading reading = new Reading();
        get(order.from(), pack, reading);
        Digest digest = Digest.ofFile(pack, bytes -> work.check());
        if (order.sha256().filter(wanted -> !wanted.equals(digest)).isPresent()) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    pack + " has the SHA-256 " + digest.hex() + ", and should have "
                            + order.sha256().get().hex(),
                    "Somebody has changed it, or what it should have is of another version.");
        }
        long[] fetched = {size(pack)};
        Packs.Unpacked unpacked = engine.packs()
                .unpack(
                        new Packs.UnpackRequest(
                                pack, order.as(), order.replace(), order.volumes(), images, (rootfs, to) -> {
                                    if (getBeside(order.from(), rootfs, to)) {
                                        fetched[0] += size(to);
                                    }
                                }),
                        call);
        return new Pulled(unpacked, digest, reading.bytes, fetched[0]);
    }

    private void get(URI from, Path to, WebFile.Bound bound) {
        try (WebFile file = new WebFile(from, reach, engine.environment(), work)) {
            file.get(to, bound);
        }
    }

    /** Whether there was one. */
    private boolean getBeside(URI pack, Rootfs rootfs, Path to) {
        try {
            get(WebFile.sibling(pack, rootfs.sidecar()), to, new WebFile.Bound() {
                @Override
                public long first() {
                    return 0;
                }

                @Override
                public long most(Path begun, Optional<Long> length) {
                    new Room().and(to, length.orElse(0L), "the root disk").require();
                    return packed(rootfs.bytes());
                }
            });
            return true;
        } catch (ForkdException e) {
            if (e.kind() != Kind.NOT_FOUND) {
                throw e;
            }
            try {
                Files.deleteIfExists(to);
            } catch (IOException again) {
                throw ForkdException.of("remove " + to, again);
            }
            return false;
        }
    }

    /** What zstd makes of so many bytes, at most, with what an archive takes for its own. */
    private static long packed(long bytes) {
        return bytes + (bytes >> 7) + (4 << 20);
    }

    /** Reads what a pack says of itself before the rest of it is here. */
    private final class Reading implements WebFile.Bound {
        private long bytes;

        @Override
        public long first() {
            return BEGINNING;
        }

        @Override
        public long most(Path begun, Optional<Long> length) {
            try (PackReader reader = PackReader.open(begun, count -> work.check())) {
                PackManifest manifest = reader.manifest();
                bytes = manifest.bytes();
                new Room()
                        .and(begun, bytes, "what is in the pack")
                        .and(begun, length.orElse(0L), "the pack itself")
                        .require();
                return packed(bytes);
            }
        }
    }

    private static long size(Path file) {
        try {
            return Files.size(file);
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
    }

    /**
     * What was put there.
     *
     * @param digest of the pack
     * @param rootfs where its root disk is, or has to be put by somebody else
     */
    public record Pushed(Digest digest, int links, long bytes, long sent, URI rootfs, RootDisk rootDisk) {}

    /** What became of the root disk. */
    public enum RootDisk {
        SENT,
        /** Somebody has put it there before. */
        THERE,
        /** The address is good for one file alone. */
        LEFT
    }

    /** Packs a snapshot and puts it there; the pack comes last, so that whoever finds it finds its root disk. */
    public Pushed push(SnapshotTag tag, URI to, Optional<String> description, Optional<String> baseImage) {
        boolean one = to.getRawQuery() != null; // As a signed address of an object store's has.
        try (OwnedDirectory staged = engine.store().stage(tag);
                WebFile target = new WebFile(to, reach, engine.environment(), work)) {
            Path pack = staged.path().resolve(PACK);
            Packs.Packed packed = engine.packs()
                    .pack(
                            new Packs.PackRequest(
                                    tag,
                                    pack,
                                    description,
                                    baseImage,
                                    rootfs -> one || isThere(WebFile.sibling(to, rootfs.sidecar()))),
                            call);
            URI beside = WebFile.sibling(to, String.valueOf(packed.sidecar().getFileName()));
            long sent = packed.bytes();
            if (!packed.existed()) {
                try (WebFile file = new WebFile(beside, reach, engine.environment(), work)) {
                    file.put(packed.sidecar());
                }
                sent += packed.sidecarBytes();
            }
            Digest digest = Digest.ofFile(pack, bytes -> work.check());
            target.put(pack);
            RootDisk rootDisk = one ? RootDisk.LEFT : packed.existed() ? RootDisk.THERE : RootDisk.SENT;
            return new Pushed(digest, packed.links(), packed.content(), sent, beside, rootDisk);
        }
    }

    private boolean isThere(URI address) {
        try (WebFile file = new WebFile(address, reach, engine.environment(), work)) {
            return file.isThere();
        }
    }
}
