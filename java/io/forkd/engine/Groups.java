package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.cgroup.Cgroups;
import io.forkd.cgroup.Usage;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * The cgroups of the VMs of one call, if their limits need any: that they can be had is known before the first VM is made.
 * Closing this removes those of VMs that have ended.
 */
final class Groups implements AutoCloseable {
    /** The event loop's, one that KVM has for each VM, and a branch's in the moment of its fork(2); and one to spare. */
    private static final int THREADS_BESIDE_VCPUS = 4;

    /** Children of a branch are in its group for a moment. */
    private static final int CHILDREN_AT_ONCE = 64;

    private final Cgroups cgroups;
    private final Optional<Cgroups.Maker> maker;
    private final List<Path> made = new ArrayList<>();

    private Groups(Cgroups cgroups, Limits limits) {
        this.cgroups = cgroups;
        this.maker = cgroups.maker(limits);
    }

    static Groups of(Cgroups cgroups, Limits limits, int vcpus) {
        int least = vcpus + THREADS_BESIDE_VCPUS;
        if (limits.bounds(Limit.PROCESSES) && limits.get(Limit.PROCESSES).orElse(0) < least) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    Limit.PROCESSES.field() + " "
                            + limits.get(Limit.PROCESSES).orElse(0) + " is too few: a VM with " + vcpus
                            + (vcpus == 1 ? " vCPU" : " vCPUs") + " takes " + least + " threads of the host");
        }
        return new Groups(cgroups, limits);
    }

    /** For a branch of a VM with these limits, which runs no guest. */
    static Groups ofBranch(Cgroups cgroups, Limits limits) {
        Map<Limit, Long> values = new HashMap<>(limits.values());
        values.computeIfPresent(
                Limit.PROCESSES, (same, count) -> count == 0 ? count : Long.valueOf(count + CHILDREN_AT_ONCE));
        return new Groups(cgroups, new Limits(values));
    }

    Optional<Path> make(String name) {
        Optional<Path> group = maker.map(one -> one.make(name));
        group.ifPresent(made::add);
        return group;
    }

    /** Whether a server, which was started by somebody, may have children in them. */
    boolean areReachedBy(int pid) {
        return maker.isEmpty() || cgroups.reaches(pid);
    }

    /** Whether there are any. */
    boolean areNeeded() {
        return maker.isPresent();
    }

    /** From now on they are removed by who ends the VMs. */
    void release() {
        made.clear();
    }

    @Override
    public void close() {
        made.forEach(Cgroups::remove);
    }

    /** Why a VM was ended by the kernel, as the end of a sentence; empty when it was not for a limit. */
    static Optional<String> whyKilled(Optional<Path> group, Limits limits) {
        OptionalLong memory = limits.get(Limit.MEMORY);
        return group.filter(Usage::ranOutOfMemory)
                .map(there -> "it was killed: it used more than its memory limit of " + memory.orElse(0) + " MiB");
    }
}
