package io.forkd.engine;

import io.forkd.Limits;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;

/**
 * What a child is called and where its sockets will be.
 *
 * @param control there when the child is to outlive this command
 * @param netns the network namespace that its tap device is in
 * @param limits that are said: its own, and where it has none its snapshot's
 * @param cgroup made for it, when one of them needs it
 * @param freeze how long its guest is idle until it is frozen
 */
record Place(
        String name,
        Path socket,
        Optional<Path> control,
        Optional<Path> console,
        Optional<String> netns,
        Limits limits,
        Optional<Path> cgroup,
        Optional<Duration> freeze) {
    private static final Path NAMESPACES = Path.of("/var/run/netns");

    static Path namespace(String name) {
        return NAMESPACES.resolve(name);
    }

    /** The namespace of the child with that number. */
    static String ownNamespace(int number) {
        return "forkd-child-" + number;
    }
}
