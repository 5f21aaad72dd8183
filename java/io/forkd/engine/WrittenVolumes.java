package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.Remedy;
import io.forkd.agent.AgentClient;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Volume;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.OptionalLong;
import java.util.Set;

/** Volumes that a guest writes through to. While a snapshot has one mounted, nobody else may change its image. */
final class WrittenVolumes {
    private WrittenVolumes() {}

    /** The numbers of the disks that a guest writes through to. */
    static Set<Integer> numbers(List<Volume> volumes, List<ManifestDisk> disks, List<Path> written) {
        Set<Integer> found = new HashSet<>();
        for (int i = 1; i <= volumes.size(); i++) {
            if (written.contains(disks.get(i).image())) {
                found.add(i);
            }
        }
        return found;
    }

    /**
     * Has a guest unmount them, which it then has to mount again, unless it ends.
     *
     * @param written images of those that it writes through to; what it has a view of its own of is none of them
     * @return the numbers of the disks that are not mounted any more
     */
    static Set<Integer> unmount(
            AgentClient agent, List<Volume> volumes, List<ManifestDisk> disks, List<Path> written, Progress progress) {
        if (written.isEmpty()) {
            return Set.of();
        }
        List<String> busy = agent.unmount();
        Set<Integer> unmounted = new HashSet<>();
        for (int number : numbers(volumes, disks, written)) {
            Volume volume = volumes.get(number - 1);
            Path image = disks.get(number).image();
            if (busy.contains(volume.guestPath())) {
                progress.warn(
                        "a program in the guest has a file on " + volume.guestPath()
                                + " open, so that it stays mounted: the snapshot gives no child any more once somebody, this"
                                + " guest too, has written to " + image,
                        Remedy.Action.CLOSE_FILES_OR_PRIVATE_VOLUMES);
            } else {
                unmounted.add(number);
            }
        }
        return unmounted;
    }

    /** Has a guest that is about to be killed write out what it has not yet. */
    static void flush(AgentClient agent, List<Path> volumes, Progress progress) {
        if (volumes.isEmpty()) {
            return;
        }
        try {
            agent.unmount();
        } catch (ForkdException e) {
            progress.warn("what the guest wrote to " + volumes.get(0) + " last may be lost: " + e.sentence());
        }
    }

    /** What the manifest of a snapshot says of a disk's age. A guest that writes through to it has changed it. */
    static OptionalLong modified(ManifestDisk disk, int number, Set<Integer> unmounted) {
        if (unmounted.contains(number)) {
            return OptionalLong.empty();
        }
        if (number == 0 || disk.readOnly()) {
            return disk.modified();
        }
        try {
            return OptionalLong.of(Files.getLastModifiedTime(disk.image()).toMillis());
        } catch (IOException e) {
            throw ForkdException.of("look at the volume " + disk.image(), e);
        }
    }
}
