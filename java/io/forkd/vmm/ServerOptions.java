package io.forkd.vmm;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * A fork server to start; see forkd_server_options.
 *
 * @param parked children to keep forked in advance
 * @param control the Unix socket to make; with it the server is detached, and ends by itself
 * @param idle how long a detached server stays when nobody uses it
 * @param workingSet the file of what a child touches until it is ready and for its first answer; without it nothing is
 *     prepared
 * @param learn whether that file is to be made by the first child that answers; no other may write to it
 */
public record ServerOptions(
        Path memory,
        Path vmstate,
        List<Disk> disks,
        int parked,
        Optional<Path> control,
        Duration idle,
        Optional<Path> workingSet,
        boolean learn) {
    public ServerOptions {
        disks = List.copyOf(disks);
    }
}
