package io.forkd.cli;

import io.forkd.Limit;
import io.forkd.Limits;
import java.util.Optional;
import java.util.OptionalLong;
import picocli.CommandLine.Option;

/** What guests may use of the host; docs/limits.md. */
final class LimitOptions {
    @Option(
            names = "--console-limit-kib",
            paramLabel = "K",
            description = "How much is kept of each one's console; when that is full the older half goes."
                    + " Default: 1024.")
    Optional<Long> console = Optional.empty();

    @Option(
            names = "--disk-limit-mib",
            paramLabel = "M",
            description = "What each may take of the host's disk for what it writes to its own; 0: no limit."
                    + " Default: 10240.")
    Optional<Long> disk = Optional.empty();

    @Option(
            names = "--disk-bps",
            paramLabel = "B",
            description = "Bytes a second that each disk of each reads and writes; 0: no limit, the default.")
    Optional<Long> diskBytes = Optional.empty();

    @Option(
            names = "--disk-iops",
            paramLabel = "N",
            description = "Requests a second of each disk of each; 0: no limit, the default.")
    Optional<Long> diskRequests = Optional.empty();

    @Option(
            names = "--net-bps",
            paramLabel = "B",
            description = "Bytes a second of each one's network, in each direction; 0: no limit, the default.")
    Optional<Long> netBytes = Optional.empty();

    @Option(
            names = "--vsock-connections",
            paramLabel = "N",
            description = "Connections of each between host and guest, exec's among them, at a time. Default: 1023.")
    Optional<Long> vsockConnections = Optional.empty();

    @Option(
            names = "--vsock-buffer-mib",
            paramLabel = "M",
            description =
                    "What each may have written to connections that nobody has read yet; past that they are reset."
                            + " Default: 64.")
    Optional<Long> vsockBuffer = Optional.empty();

    Limits limits() {
        Limits limits = Limits.of(limit -> said(limit).map(OptionalLong::of).orElse(OptionalLong.empty()));
        limits.values()
                .forEach((limit, value) -> MachineOptions.requireRange(
                        "--" + limit.field().replace('_', '-'), value, limit.least(), limit.most()));
        return limits;
    }

    private Optional<Long> said(Limit limit) {
        return switch (limit) {
            case CONSOLE -> console;
            case DISK -> disk;
            case DISK_BYTES -> diskBytes;
            case DISK_REQUESTS -> diskRequests;
            case NET_BYTES -> netBytes;
            case VSOCK_CONNECTIONS -> vsockConnections;
            case VSOCK_BUFFER -> vsockBuffer;
        };
    }
}
