package io.forkd.cli;

import io.forkd.agent.GuestAddress;
import io.forkd.agent.GuestException;
import io.forkd.agent.GuestStreams;
import io.forkd.agent.PortForward;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;

@Command(
        name = "port-forward",
        description = "Makes ports of a guest reachable on this machine, with no network device, until it is ended.",
        sortOptions = false)
final class PortForwardCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(index = "0", paramLabel = "ID", description = "The sandbox, or a child of fork.")
    String id = "";

    @Parameters(
            index = "1..*",
            arity = "1..*",
            paramLabel = "[HOST:]PORT:GUESTPORT",
            description = "Where to listen, 127.0.0.1 unless another HOST is given, and what is behind that. Without"
                    + " PORT: any that is free.")
    List<String> ports = List.of();

    @Option(names = "--json", description = "Print a JSON array of what is listened at, once it is.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    PortForwardCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        List<PublishedPort> wanted = ports.stream().map(PublishedPort::parse).toList();
        GuestStreams guest = remote.backend(shell).streams(id);
        List<PortForward> forwards = new ArrayList<>();
        try {
            guest.metrics(); // Whether it knows streams is said now, not to who connects.
            for (PublishedPort port : wanted) {
                forwards.add(new PortForward(guest, port.local(), new GuestAddress.Port(port.guest())));
            }
            report(wanted, forwards);
            CountDownLatch cancelled = new CountDownLatch(1);
            shell.call().onCancel(cancelled::countDown);
            return awaitEnd(cancelled, guest);
        } catch (GuestException.Absent e) {
            throw Session.explained(e);
        } finally {
            forwards.forEach(PortForward::close);
        }
    }

    /** Of this command, or of the guest. */
    private int awaitEnd(CountDownLatch cancelled, GuestStreams guest) {
        try {
            while (!cancelled.await(1, TimeUnit.SECONDS)) {
                if (!guest.isThere()) {
                    shell.note(id + " has ended");
                    return 0;
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        return 0;
    }

    private void report(List<PublishedPort> wanted, List<PortForward> forwards) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        for (int i = 0; i < forwards.size(); i++) {
            InetSocketAddress local = forwards.get(i).local();
            String host = local.getAddress().getHostAddress();
            array.add(Shell.json()
                    .put("host", host)
                    .put("port", local.getPort())
                    .put("guest_port", wanted.get(i).guest()));
            if (!json) {
                String shown = host.contains(":") ? "[" + host + "]" : host;
                shell.print(shown + ":" + local.getPort() + "  ->  " + id + " port "
                        + wanted.get(i).guest());
            }
        }
        if (json) {
            shell.print(array.toPrettyString());
        }
        shell.out().flush();
    }
}
