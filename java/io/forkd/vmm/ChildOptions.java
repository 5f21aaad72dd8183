package io.forkd.vmm;

import io.forkd.Limits;
import java.nio.file.Path;
import java.util.Optional;

/**
 * One child to fork; see forkd_child_options.
 *
 * @param hostname at most 63 bytes
 * @param vsock the Unix socket to make; its path must be below 108 bytes
 * @param netns the network namespace that has the tap
 * @param control the Unix socket to make; with it the child is detached, and outlives handle and server
 * @param cgroup that its process is born in
 */
public record ChildOptions(
        String hostname,
        Path vsock,
        Optional<Path> console,
        Optional<String> tap,
        Optional<Path> netns,
        Optional<Path> control,
        Limits limits,
        Optional<Path> cgroup) {}
