package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Programs, files and ports of one guest, over its VM's Unix socket and no network (docs/guest-protocol.md). It holds
 * nothing: each call is a connection of its own, and any thread may make it.
 *
 * <p>Everything throws a {@link GuestException} when the guest refuses, lies, breaks off or says nothing in time, {@link
 * GuestException.Absent} when its agent knows no streams, and another {@link io.forkd.ForkdException} when the VM is not
 * there or the thread is interrupted. What is opened has to be closed; any thread may do that, and ends what others wait
 * for in it with a {@link GuestException.Lost}.
 *
 * <pre>{@code
 * GuestStreams guest = new GuestStreams(sandbox.socket());
 * try (GuestProcess process = guest.run(RunRequest.of("ls", "/"))) {
 *     GuestProcess.Exit exit = process.await(output);
 * }
 * }</pre>
 */
public final class GuestStreams {
    /** What the protocol is called where a connection is handed over to it. */
    public static final String PROTOCOL = "forkd-guest";

    /** What the guest has beyond a time limit, to end what exceeds it and to say so. */
    private static final Duration GRACE = Duration.ofSeconds(10);

    /** The guest of a busy host takes long, and so does its disk; one that hangs takes for ever. */
    private static final Duration PATIENCE = Duration.ofMinutes(1);

    private final AgentAddress address;
    private final Duration patience;

    /**
     * Asks nobody yet.
     *
     * @param socket the VM's, which speaks CONNECT
     */
    public GuestStreams(Path socket) {
        this(socket, PATIENCE);
    }

    /** Asks nobody yet. */
    public GuestStreams(AgentAddress.Dialled address) {
        this(address, PATIENCE);
    }

    GuestStreams(Path socket, Duration patience) {
        this(new AgentAddress.Vsock(socket), patience);
    }

    private GuestStreams(AgentAddress address, Duration patience) {
        this.address = address;
        this.patience = patience;
    }

    /** Whether the VM is there. */
    public boolean isThere() {
        return address instanceof AgentAddress.Vsock vsock
                ? Files.exists(vsock.socket()) // which goes with the VM
                : ((AgentAddress.Dialled) address).dial().isThere();
    }

    /** A connection on which somebody else speaks the protocol. */
    public GuestWire wire() {
        return new GuestWire(AgentConnection.open(address, GuestStream.PORT, new byte[0], patience));
    }

    /** How long the guest may take for an answer, and for the next of what it has to tell at once. */
    Duration patience() {
        return patience;
    }

    /**
     * Runs a program. When what is returned is closed before it has ended, it goes on, as the document says; {@link
     * #signal} ends it.
     *
     * @throws GuestException.Refused when it does not run: {@code ENOENT}, {@code EACCES} and so on
     */
    public GuestProcess run(RunRequest request) {
        if (request.argv().isEmpty()) {
            throw new ForkdException(Kind.USAGE, "there is no command");
        }
        ObjectNode json = operation("run");
        ArrayNode argv = json.putArray("argv");
        request.argv().forEach(argv::add);
        if (!request.environment().isEmpty()) {
            ObjectNode environment = json.putObject("env");
            request.environment().forEach(environment::put);
        }
        request.directory().ifPresent(directory -> json.put("cwd", directory));
        request.user().ifPresent(user -> json.put("user", user));
        if (request.stdin()) {
            json.put("stdin", true);
        }
        request.terminal().ifPresent(size -> put(json.putObject("pty"), size));
        request.timeout().ifPresent(limit -> json.put("timeout_ms", Math.max(1, limit.toMillis())));
        request.tag().ifPresent(tag -> json.put("tag", tag));
        if (request.detach()) {
            json.put("detach", true);
        }
        String doing = "run '" + GuestAnswer.printable(request.argv().get(0)) + "'";
        GuestStream stream = open(doing, json);
        try {
            GuestProcess process = GuestProcess.started(this, stream, request);
            request.timeout().map(GRACE::plus).ifPresent(stream::within);
            return process;
        } catch (RuntimeException e) {
            stream.close();
            throw e;
        }
    }

    /**
     * Listens to a process that {@link #run} started, here or elsewhere, with others who do.
     *
     * @param from what to begin with; what is kept longest when empty
     */
    public GuestProcess attach(ProcessName name, Optional<GuestProcess.Position> from) {
        ObjectNode json = name.put(operation("attach"));
        from.ifPresent(position -> json.putArray("from").add(position.stdout()).add(position.stderr()));
        GuestStream stream = open("attach to " + name, json);
        try {
            return GuestProcess.attached(this, stream, from);
        } catch (RuntimeException e) {
            stream.close();
            throw e;
        }
    }

    /**
     * Sends a process its input, and that there is no more. Returns when it has taken all of that, or has ended; closed
     * before, what it has not taken is lost.
     */
    public void feed(ProcessName name, InputStream input) throws IOException {
        try (GuestInput process = input(name)) {
            process.feed(input);
        }
    }

    /** Opens the input of a process, for what comes piece by piece. */
    public GuestInput input(ProcessName name) {
        GuestStream stream =
                open("send input to " + name, name.put(operation("attach")).put("output", false));
        try {
            return new GuestInput(
                    stream, GuestProcess.attached(this, stream, Optional.of(GuestProcess.Position.START)));
        } catch (RuntimeException e) {
            stream.close();
            throw e;
        }
    }

    /** Those that {@link #run} started and that are kept. */
    public List<GuestProcessEntry> processes() {
        return ask("list the processes", operation("processes")).objects("processes").stream()
                .map(GuestProcessEntry::of)
                .toList();
    }

    /**
     * Sends a signal.
     *
     * @param group to all processes of its session
     */
    public void signal(ProcessName name, int signal, boolean group) {
        ObjectNode json = name.put(operation("signal")).put("signal", signal);
        ask("signal " + name, group ? json.put("group", true) : json);
    }

    /** Of a process's terminal. */
    public void resize(ProcessName name, TerminalSize size) {
        ask("resize the terminal of " + name, put(name.put(operation("resize")), size));
    }

    /** Its files, with the rights of the image's user. */
    public GuestFiles files() {
        return new GuestFiles(this, Optional.empty());
    }

    /** Its files, with the rights of that user: NAME or UID, with :GROUP or :GID. */
    public GuestFiles files(String user) {
        return new GuestFiles(this, Optional.of(user));
    }

    /**
     * Connects to a server in the guest.
     *
     * @throws GuestException.Refused when there is none ({@code ECONNREFUSED}), or it takes too long
     */
    public GuestPort connect(GuestAddress address) {
        ObjectNode json = operation("connect");
        address.put(json);
        return new GuestPort(open("connect to " + address, json).allowing(GuestStream.Type.OUT));
    }

    public GuestMetrics metrics() {
        return GuestMetrics.of(ask("ask for its figures", operation("metrics")));
    }

    private static ObjectNode put(ObjectNode to, TerminalSize size) {
        return to.put("rows", size.rows()).put("columns", size.columns());
    }

    static ObjectNode operation(String name) {
        return JsonNodeFactory.instance.objectNode().put("op", name);
    }

    GuestStream open(String doing, ObjectNode request) {
        return GuestStream.open(address, doing, request, patience);
    }

    /** One that is answered, and no more. */
    GuestAnswer ask(String doing, ObjectNode request) {
        return ask(doing, request, patience);
    }

    GuestAnswer ask(String doing, ObjectNode request, Duration time) {
        try (GuestStream stream = GuestStream.open(address, doing, request, time)) {
            return stream.answer();
        }
    }
}
