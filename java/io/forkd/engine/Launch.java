package io.forkd.engine;

import io.forkd.snapshot.Snapshot;
import io.forkd.vmm.Disk;
import java.nio.file.Path;
import java.util.List;

/**
 * What the fork server of a snapshot is started with: worked out and checked once, and then only carried.
 *
 * @param chain the snapshot's ancestors and itself
 * @param memory of the whole chain, in one file
 * @param written volumes that the children write through to
 */
record Launch(List<Snapshot> chain, Path vmstate, Path memory, List<Disk> disks, List<Path> written) {
    Launch {
        chain = List.copyOf(chain);
        disks = List.copyOf(disks);
        written = List.copyOf(written);
    }

    Snapshot snapshot() {
        return chain.get(chain.size() - 1);
    }
}
