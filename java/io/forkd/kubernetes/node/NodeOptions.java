package io.forkd.kubernetes.node;

import io.forkd.http.HttpOptions;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * How an agent is to be.
 *
 * @param node its node's name
 * @param namespace where reservations are
 * @param socket its daemon's
 * @param address where the gateway reaches that daemon
 * @param sandboxMib how much memory of this node is for sandboxes
 * @param forkd the command line, which pulls and pushes: with the daemon's environment
 * @param sync how often what the daemon has is compared with what is known
 * @param threads how many things are done at once
 * @param http where metrics are
 */
public record NodeOptions(
        String node,
        String namespace,
        Path socket,
        String address,
        long sandboxMib,
        List<String> forkd,
        Duration sync,
        int threads,
        Optional<HttpOptions> http) {

    /** What this machine has. */
    public static long memoryMib() {
        try (Stream<String> lines = Files.lines(Path.of("/proc/meminfo"))) {
            return lines.filter(line -> line.startsWith("MemTotal:"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")) >> 10)
                    .findFirst()
                    .orElse(0);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
