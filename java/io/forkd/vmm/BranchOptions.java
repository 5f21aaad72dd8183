package io.forkd.vmm;

import java.nio.file.Path;
import java.util.Optional;

/**
 * Where a branch goes; see forkd_branch_options.
 *
 * @param directory an existing folder without a snapshot in it
 * @param control the Unix socket of the branch, which then stays until all is written; without it, it ends with its
 *     handle
 * @param written whether it is written there at all, or only gives children, which it does for a minute without a handle
 * @param layer whether to write what differs from the files that the VM's server was started from, instead of all
 * @param cgroup that the branch moves to; without it, it stays in its source's
 */
public record BranchOptions(
        Path directory, Optional<Path> control, boolean written, boolean layer, Optional<Path> cgroup) {}
