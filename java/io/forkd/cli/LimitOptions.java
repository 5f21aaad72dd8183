package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limit;
import io.forkd.Limits;
import java.math.BigDecimal;
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
    Optional<BigDecimal> console = Optional.empty();

    @Option(
            names = "--disk-limit-mib",
            paramLabel = "M",
            description = "What each may take of the host's disk for what it writes to its own; 0: no limit."
                    + " Default: 10240.")
    Optional<BigDecimal> disk = Optional.empty();

    @Option(
            names = "--disk-bps",
            paramLabel = "B",
            description = "Bytes a second that each disk of each reads and writes; 0: no limit, the default.")
    Optional<BigDecimal> diskBytes = Optional.empty();

    @Option(
            names = "--disk-iops",
            paramLabel = "N",
            description = "Requests a second of each disk of each; 0: no limit, the default.")
    Optional<BigDecimal> diskRequests = Optional.empty();

    @Option(
            names = "--net-bps",
            paramLabel = "B",
            description = "Bytes a second of each one's network, in each direction; 0: no limit, the default.")
    Optional<BigDecimal> netBytes = Optional.empty();

    @Option(
            names = "--vsock-connections",
            paramLabel = "N",
            description = "Connections of each between host and guest, exec's among them, at a time. Default: 1023.")
    Optional<BigDecimal> vsockConnections = Optional.empty();

    @Option(
            names = "--vsock-buffer-mib",
            paramLabel = "M",
            description =
                    "What each may have written to connections that nobody has read yet; past that they are reset."
                            + " Default: 64.")
    Optional<BigDecimal> vsockBuffer = Optional.empty();

    @Option(
            names = "--memory-limit-mib",
            paramLabel = "M",
            description = "Memory of the host that each may take for its guest's; past that it is killed (cgroup)."
                    + " Default: no limit.")
    Optional<BigDecimal> memory = Optional.empty();

    @Option(
            names = "--cpus",
            paramLabel = "N",
            description = "How many of the host's processors each may use, such as 0.5 (cgroup); 0: no limit, the"
                    + " default.")
    Optional<BigDecimal> cpus = Optional.empty();

    @Option(
            names = "--pids-limit",
            paramLabel = "N",
            description = "Threads of the host that each may have: a VM takes 4 and one for each vCPU (cgroup); 0: no"
                    + " limit, the default.")
    Optional<BigDecimal> processes = Optional.empty();

    @Option(
            names = "--io-bps",
            paramLabel = "B",
            description = "Bytes a second that each reads, and writes, of the host's disks (cgroup); 0: no limit, the"
                    + " default.")
    Optional<BigDecimal> ioBytes = Optional.empty();

    @Option(names = "--io-iops", paramLabel = "N", description = "The same in requests (cgroup).")
    Optional<BigDecimal> ioRequests = Optional.empty();

    Limits limits() {
        return Limits.of(limit -> said(limit).map(given -> value(limit, given)).orElse(OptionalLong.empty()));
    }

    private static OptionalLong value(Limit limit, BigDecimal given) {
        OptionalLong value = limit.value(given);
        if (value.isEmpty() || !limit.allows(value.getAsLong())) {
            throw new ForkdException(
                    Kind.USAGE,
                    "--" + limit.field().replace('_', '-') + " " + given + " is out of range: "
                            + limit.shown(limit.least()) + " to " + limit.shown(limit.most())
                            + (limit.decimals() > 0 ? ", with " + limit.decimals() + " decimals at most" : ""));
        }
        return value;
    }

    private Optional<BigDecimal> said(Limit limit) {
        return switch (limit) {
            case CONSOLE -> console;
            case DISK -> disk;
            case DISK_BYTES -> diskBytes;
            case DISK_REQUESTS -> diskRequests;
            case NET_BYTES -> netBytes;
            case VSOCK_CONNECTIONS -> vsockConnections;
            case VSOCK_BUFFER -> vsockBuffer;
            case MEMORY -> memory;
            case CPUS -> cpus;
            case PROCESSES -> processes;
            case IO_BYTES -> ioBytes;
            case IO_REQUESTS -> ioRequests;
        };
    }
}
