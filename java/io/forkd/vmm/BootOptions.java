package io.forkd.vmm;

import io.forkd.Limits;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * A machine to boot; see forkd_boot_options.
 *
 * @param memoryBytes a multiple of 4096, at least 64 MiB
 * @param cgroup that its process is in
 */
public record BootOptions(
        Path kernel,
        Optional<Path> initrd,
        String commandLine,
        long memoryBytes,
        int vcpus,
        List<Disk> disks,
        Optional<String> tap,
        Path console,
        Path vsock,
        Limits limits,
        Optional<Path> cgroup) {}
