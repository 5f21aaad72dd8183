package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.Agent;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.GuestStreams;
import io.forkd.engine.NamespaceAgent;
import io.forkd.sandbox.Room;
import io.forkd.sandbox.Sandbox;
import java.util.Optional;
import java.util.function.IntSupplier;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Which guest is meant. */
final class TargetOptions {
    @ArgGroup(exclusive = true)
    Choice choice = new Choice();

    static final class Choice {
        @Option(
                names = "--target",
                paramLabel = "HOST:PORT",
                description = "Address of the agent, or unix:PATH for a VM's socket. Default: 10.42.0.2:8888.")
        Optional<String> target = Optional.empty();

        @Option(
                names = "--child",
                paramLabel = "NAME",
                description =
                        "A running child by its name, which forkd fork prints, a sandbox by its id or name, or a network"
                                + " namespace by its name in /var/run/netns: its guest is asked over TCP, which needs root.")
        Optional<String> child = Optional.empty();
    }

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    Agent agent(Shell shell) {
        if (choice.child.isEmpty()) {
            return new AgentClient(address());
        }
        String name = choice.child.get();
        return isRemote(shell) ? remote.backend(shell).agent(name) : here(shell, name);
    }

    /** The programs, files and ports of a guest, which are not reached over its network. */
    GuestStreams streams(Shell shell) {
        if (choice.child.isPresent()) {
            String name = choice.child.get();
            return isRemote(shell) ? remote.backend(shell).streams(name) : new FolderBackend(shell).streams(name);
        }
        if (address() instanceof AgentAddress.Vsock vsock) {
            return new GuestStreams(vsock.socket());
        }
        throw new ForkdException(
                Kind.USAGE, "this is not done over a guest's network: it needs --child NAME or --target unix:PATH");
    }

    /** Whoever is called so, else who has the usual address in the network namespace of that name. */
    private Agent here(Shell shell, String name) {
        try {
            return new FolderBackend(shell).agent(name);
        } catch (ForkdException e) {
            if (e.kind() != Kind.NOT_FOUND) {
                throw e;
            }
            if (remote.named(shell).isPresent()) {
                return remote.backend(shell).agent(name);
            }
            return NamespaceAgent.in(name, new AgentClient(address())).orElseThrow(() -> e);
        }
    }

    /** Sandboxes are a daemon's; children of a fork, and what has an address, are asked by whoever has reach of them. */
    private boolean isRemote(Shell shell) {
        if (remote.onCommandLine() && choice.child.isEmpty()) {
            throw new ForkdException(Kind.USAGE, "--daemon-url is for sandboxes: --child ID");
        }
        boolean sandbox = choice.child.isPresent() && choice.child.get().startsWith(Sandbox.PREFIX);
        return remote.onCommandLine() || (sandbox && remote.named(shell).isPresent());
    }

    private AgentAddress address() {
        return AgentAddress.parse(choice.target.orElse("10.42.0.2:8888"));
    }

    /** Of what failed, a full disk may be the reason; of what did not, forkd ls tells it, without the time that it takes to ask. */
    int explainingFailure(Shell shell, IntSupplier command) {
        int status = Kind.FAILED.exitStatus();
        try {
            status = command.getAsInt();
            return status;
        } finally {
            if (status != 0 && !shell.call().isCancelled() && !isRemote(shell)) {
                explainFailure(shell);
            }
        }
    }

    private void explainFailure(Shell shell) {
        Optional<String> id = choice.child.or(() -> choice.target
                .filter(target -> target.startsWith("unix:"))
                .flatMap(target -> address() instanceof AgentAddress.Vsock vsock
                        ? shell.engine().sandboxes().idAt(vsock.socket())
                        : Optional.empty()));
        id.flatMap(one -> noRoom(shell.engine().sandboxes().room(one), one)
                        .map(what -> what + " 'forkd kill " + one + "' ends it, and its snapshot gives others.")
                        .or(() -> shell.engine().sandboxes().killed(one).map(killed -> one + ": " + killed.reason())))
                .ifPresent(shell::warn);
    }

    /** Empty when there was. */
    static Optional<String> noRoom(Room room, String whose) {
        return room.problem(whose, "--disk-limit-mib")
                .map(problem -> problem + (room == Room.HOST_FULL ? ". Make room there." : "."));
    }
}
