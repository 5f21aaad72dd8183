package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.List;
import picocli.CommandLine.Option;

/** Which ports of children are reached on this machine. */
final class PublishOptions {
    @Option(
            names = {"-p", "--publish"},
            paramLabel = "[HOST:]PORT:GUESTPORT",
            description = "Make a port of the guest reachable on this machine, with no network device, as port-forward"
                    + " does, as long as it lives; may be given more than once. Of more than one child PORT is left"
                    + " out: each has any that is free.")
    List<String> ports = List.of();

    List<PublishedPort> check(int count) {
        List<PublishedPort> all = ports.stream().map(PublishedPort::parse).toList();
        if (count > 1 && all.stream().anyMatch(port -> port.local().getPort() != 0)) {
            throw new ForkdException(
                    Kind.USAGE,
                    "-p with a port of this machine is for one child: with -n " + count + " leave PORT out");
        }
        return all;
    }
}
