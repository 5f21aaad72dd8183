package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.LockHolder;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.Disk;
import io.forkd.vmm.NativeError;
import io.forkd.vmm.VmmException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** Who has an image attached, in words: any number of VMs may read one, or one may write to it. */
final class Holders {
    private final Sandboxes sandboxes;
    private final Servers servers;
    private final SnapshotStore store;

    Holders(Sandboxes sandboxes, Servers servers, SnapshotStore store) {
        this.sandboxes = sandboxes;
        this.servers = servers;
        this.store = store;
    }

    /** The error for a person, when the library could not have one of the disks because somebody else has it. */
    ForkdException explain(VmmException e, List<Disk> disks) {
        if (e.error().code() != NativeError.EBUSY) {
            return e;
        }
        return disks.stream()
                .flatMap(disk -> refusal(disk.image(), disk.mode() == Disk.Mode.SHARED).stream())
                .findFirst()
                .orElse(e);
    }

    /**
     * Why an image cannot be attached; empty when nobody has it.
     *
     * @param toWrite whether it is to be written to, which those that read it stand against, too
     */
    Optional<ForkdException> refusal(Path image, boolean toWrite) {
        return held(image, toWrite).map(held -> {
            Optional<Sandbox> sandbox = sandbox(image, held);
            return new ForkdException(
                    Kind.CONFLICT,
                    image + " is attached " + (held.writes() ? "for writing " : "") + "by "
                            + sandbox.map(one -> "the sandbox " + one.id() + " (pid " + one.pid() + ")")
                                    .or(() -> server(image))
                                    .orElseGet(() -> held.toString()),
                    new Remedy.DetachImage(sandbox.map(Sandbox::id), !held.writes()));
        });
    }

    private static Optional<LockHolder> held(Path image, boolean toWrite) {
        return LockHolder.of(image, LockHolder.Family.FLOCK).stream()
                .filter(held -> toWrite || held.writes())
                .findFirst();
    }

    private Optional<Sandbox> sandbox(Path image, LockHolder held) {
        return sandboxes
                .known()
                .filter(sandbox -> held.writes() ? sandbox.volumes().contains(image) : reads(sandbox, image))
                .findFirst();
    }

    private static boolean reads(Sandbox sandbox, Path image) {
        try {
            return Manifest.read(Sandbox.manifest(sandbox.directory())).has(image);
        } catch (ForkdException e) {
            return false; // It ended meanwhile, or its file is damaged.
        }
    }

    private Optional<String> server(Path image) {
        return servers.list().stream()
                .filter(ServerInfo.Answering.class::isInstance)
                .map(ServerInfo.Answering.class::cast)
                .filter(server -> has(server.snapshot().tag(), image))
                .findFirst()
                .map(server -> "the fork server of '" + server.snapshot().tag() + "' (pid " + server.pid()
                        + "), which ends when it is idle");
    }

    private boolean has(String tag, Path image) {
        try {
            return store.read(new SnapshotTag(tag)).manifest().has(image);
        } catch (ForkdException e) {
            return false; // It was removed meanwhile.
        }
    }
}
