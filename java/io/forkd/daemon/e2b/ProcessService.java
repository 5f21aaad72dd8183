package io.forkd.daemon.e2b;

import io.forkd.agent.GuestException.Lost;
import io.forkd.agent.GuestException.Refused;
import io.forkd.agent.GuestInput;
import io.forkd.agent.GuestProcess;
import io.forkd.agent.GuestProcess.Event;
import io.forkd.agent.GuestProcess.Exit;
import io.forkd.agent.GuestProcess.Position;
import io.forkd.agent.GuestProcessEntry;
import io.forkd.agent.GuestStreams;
import io.forkd.agent.ProcessName;
import io.forkd.agent.RunRequest;
import io.forkd.agent.TerminalSize;
import io.forkd.daemon.Guests;
import io.forkd.daemon.Guests.Open;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** {@code process.Process}: programs that are started, heard, and given input by whoever knows their numbers. */
final class ProcessService {
    private static final int MOST_BYTES = 32 << 10;
    private static final int MOST_BYTES_OF_TERMINAL = 16 << 10;
    private static final long MOST_PID = Integer.MAX_VALUE;
    private static final int MOST_SIZE = 65535;
    private static final String NO_SUCH_USER = "ESRCH";

    private static final Map<Integer, String> SIGNALS = Map.ofEntries(
            Map.entry(1, "hangup"),
            Map.entry(2, "interrupt"),
            Map.entry(3, "quit"),
            Map.entry(4, "illegal instruction"),
            Map.entry(5, "trace/breakpoint trap"),
            Map.entry(6, "aborted"),
            Map.entry(7, "bus error"),
            Map.entry(8, "floating point exception"),
            Map.entry(9, "killed"),
            Map.entry(10, "user defined signal 1"),
            Map.entry(11, "segmentation fault"),
            Map.entry(12, "user defined signal 2"),
            Map.entry(13, "broken pipe"),
            Map.entry(14, "alarm clock"),
            Map.entry(15, "terminated"));

    private final ProcessMemory memory = new ProcessMemory();

    private static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    // --- what is asked for ---

    private static ProcessName name(Fields message) {
        Fields selector = message.object("process").orElseThrow(() -> ConnectFailure.invalid("process is missing"));
        Optional<String> tag = selector.optionalText("tag");
        if (tag.isPresent()) {
            return new ProcessName.Tag(tag.get());
        }
        long pid = selector.number("pid");
        if (pid == 0) {
            throw ConnectFailure.invalid("process has neither pid nor tag");
        }
        // No guest has a larger one.
        return new ProcessName.Pid(Math.min(pid, MOST_PID));
    }

    private static TerminalSize size(Fields terminal) {
        Fields size = terminal.object("size").orElseThrow(() -> ConnectFailure.invalid("pty.size is missing"));
        long rows = size.number("rows");
        long columns = size.number("cols");
        if (rows < 1 || rows > MOST_SIZE || columns < 1 || columns > MOST_SIZE) {
            throw ConnectFailure.invalid("pty.size must have rows and cols of 1 to " + MOST_SIZE);
        }
        return new TerminalSize((int) rows, (int) columns);
    }

    /**
     * How a guest is asked to run it, which finds out by itself where the user is at home.
     *
     * @param name of whom the program finds itself to be
     * @param user as the guest is to look for
     */
    private static RunRequest request(EnvdCall call, Fields message, String name, String user) {
        Fields program = message.object("process").orElseThrow(() -> ConnectFailure.invalid("process is missing"));
        List<String> words = new ArrayList<>();
        words.add(program.text("cmd"));
        words.addAll(program.texts("args"));
        if (words.get(0).isEmpty()) {
            throw ConnectFailure.invalid("process.cmd is missing");
        }
        Map<String, String> environment = Account.environment(name, Account.HOME_SIGN);
        environment.putAll(call.profile().defaults().environment());
        environment.putAll(program.map("envs"));
        String base = call.profile().defaults().directory().orElse(Account.HOME_SIGN);
        Optional<TerminalSize> terminal = message.object("pty").map(ProcessService::size);
        return new RunRequest(
                words,
                environment,
                Optional.of(Account.whole(base, program.text("cwd"))),
                Optional.of(user),
                message.flag("stdin", true) && terminal.isEmpty(),
                terminal,
                call.timeout().map(time -> time.isZero() ? Duration.ofMillis(1) : time),
                message.optionalText("tag").filter(tag -> !tag.isEmpty()),
                true);
    }

    // --- streams ---

    Connect.Told start(EnvdCall call, Fields message) {
        Open<GuestProcess> open = call.open(guest -> {
            try {
                return run(call, message, guest);
            } catch (Refused e) {
                throw notStarted(e);
            }
        });
        GuestProcess process = open.stream();
        memory.begin(call.sandbox().id(), process.pid(), process.tag(), process.position(), true);
        return new Listening(call.sandbox().id(), open);
    }

    private static GuestProcess run(EnvdCall call, Fields message, GuestStreams guest) {
        String name = call.user().orElse(call.profile().defaults().user());
        try {
            return guest.run(request(call, message, name, name));
        } catch (Refused e) {
            if (!e.code().equals(NO_SUCH_USER)) {
                throw e;
            }
        }
        // As Account has it: root is there without a list, and is who runs it where nobody is named.
        if (call.user().isPresent() && !name.equals(Account.ROOT)) {
            throw Account.unknown(name);
        }
        return guest.run(request(call, message, Account.ROOT, Account.ROOT_ID));
    }

    /** What it was to be run with is wrong; only when there are too many, or too much, it is not. */
    private static ConnectFailure notStarted(Refused e) {
        ConnectFailure failure = ConnectFailure.of(e);
        return failure.code() == Code.NOT_FOUND || failure.code() == Code.PERMISSION_DENIED
                ? ConnectFailure.invalid(failure.text())
                : failure;
    }

    Connect.Told connect(EnvdCall call, Fields message) {
        String sandbox = call.sandbox().id();
        ProcessName name = name(message);
        Open<GuestProcess> open;
        try {
            open = call.open(guest -> attach(guest, name, memory.position(sandbox, name)));
        } catch (ConnectFailure e) {
            Optional<ProcessMemory.Ended> ended = memory.end(sandbox, name);
            if (e.code() != Code.NOT_FOUND || ended.isEmpty()) {
                throw e;
            }
            return new Over(ended.get());
        }
        GuestProcess process = open.stream();
        memory.begin(sandbox, process.pid(), process.tag(), process.position(), false);
        return new Listening(sandbox, open);
    }

    /** From there, unless the guest has meanwhile been what it was before that. */
    private static GuestProcess attach(GuestStreams guest, ProcessName name, Optional<Position> from) {
        try {
            return guest.attach(name, from);
        } catch (Refused e) {
            if (from.isEmpty() || !e.code().equals("EINVAL")) {
                throw e;
            }
            return guest.attach(name, Optional.empty());
        }
    }

    private static ObjectNode event(String name, ObjectNode content) {
        ObjectNode message = object();
        message.putObject("event").set(name, content);
        return message;
    }

    private static ObjectNode started(long pid) {
        return event("start", object().put("pid", pid));
    }

    /** How it ended, in words. */
    static String status(Exit exit) {
        int code = exit.code();
        return code >= 0 ? "exit status " + code : "signal: " + SIGNALS.getOrDefault(-code, "signal " + -code);
    }

    private static ObjectNode ended(Exit exit) {
        int code = exit.code();
        String status = status(exit);
        if (code >= 0) {
            ObjectNode end = object().put("exitCode", code).put("exited", true).put("status", status);
            return event("end", code == 0 ? end : end.put("error", status));
        }
        return event(
                "end",
                object().put("exitCode", -1)
                        .put("exited", false)
                        .put("status", status)
                        .put("error", status));
    }

    /** To a process. */
    private final class Listening implements Connect.Told {
        private final String sandbox;
        private final Open<GuestProcess> open;
        private final GuestProcess process;

        private Listening(String sandbox, Open<GuestProcess> open) {
            this.sandbox = sandbox;
            this.open = open;
            this.process = open.stream();
        }

        @Override
        public ObjectNode start() {
            return started(process.pid());
        }

        @Override
        public boolean awaitNews(Duration time) {
            return process.awaitNews(time);
        }

        @Override
        public boolean next(Connect.Frame out) throws IOException {
            Event event = process.next();
            if (event instanceof Event.Ended ended) {
                memory.ended(sandbox, process.pid(), ended.exit());
                if (ended.exit().timedOut()) {
                    throw new ConnectFailure(Code.DEADLINE_EXCEEDED, "the process was ended: its time was over");
                }
                out.write(ProcessService.ended(ended.exit()));
                return false;
            }
            if (event instanceof Event.Stdout written) {
                write(out, process.hasTerminal() ? "pty" : "stdout", written.bytes());
            } else if (event instanceof Event.Stderr written) {
                write(out, "stderr", written.bytes());
            }
            memory.heard(sandbox, process.pid(), process.position());
            return true;
        }

        private void write(Connect.Frame out, String name, ByteBuffer bytes) throws IOException {
            while (bytes.hasRemaining()) {
                int most = process.hasTerminal() ? MOST_BYTES_OF_TERMINAL : MOST_BYTES;
                byte[] part = new byte[Math.min(bytes.remaining(), most)];
                bytes.get(part);
                out.write(event("data", object().put(name, Base64.getEncoder().encodeToString(part))));
            }
        }

        @Override
        public ObjectNode keepalive() {
            return event("keepalive", object());
        }

        @Override
        public ConnectFailure failure(RuntimeException e) {
            return EnvdCall.failure(open, e);
        }

        @Override
        public void close() {
            open.close();
        }
    }

    /** One that the guest has forgotten. */
    private record Over(ProcessMemory.Ended process) implements Connect.Told {
        @Override
        public ObjectNode start() {
            return started(process.pid());
        }

        @Override
        public boolean awaitNews(Duration time) {
            return true;
        }

        @Override
        public boolean next(Connect.Frame out) throws IOException {
            out.write(ended(process.exit()));
            return false;
        }

        @Override
        public ObjectNode keepalive() {
            return event("keepalive", object());
        }

        @Override
        public ConnectFailure failure(RuntimeException e) {
            return ConnectFailure.of(e);
        }

        @Override
        public void close() {}
    }

    // --- questions ---

    ObjectNode list(EnvdCall call) {
        ObjectNode answer = object();
        ArrayNode processes = answer.putArray("processes");
        for (GuestProcessEntry entry : call.ask(GuestStreams::processes)) {
            if (entry.exitCode().isPresent()) {
                continue;
            }
            ObjectNode process = processes.addObject().put("pid", entry.pid());
            entry.tag().ifPresent(tag -> process.put("tag", tag));
            ObjectNode config = process.putObject("config");
            config.put("cmd", entry.argv().stream().findFirst().orElse(""));
            ArrayNode arguments = config.putArray("args");
            entry.argv().stream().skip(1).forEach(arguments::add);
            config.putObject("envs");
            config.put("cwd", entry.directory());
        }
        return answer;
    }

    ObjectNode sendSignal(EnvdCall call, Fields message) {
        ProcessName name = name(message);
        int signal = switch (message.choice("signal")) {
            case "SIGNAL_SIGTERM", "15" -> 15;
            case "SIGNAL_SIGKILL", "9" -> 9;
            default -> throw ConnectFailure.invalid("signal must be SIGNAL_SIGTERM or SIGNAL_SIGKILL");
        };
        return call.ask(guest -> {
            guest.signal(name, signal, false);
            return object();
        });
    }

    ObjectNode update(EnvdCall call, Fields message) {
        ProcessName name = name(message);
        Optional<TerminalSize> size = message.object("pty").map(ProcessService::size);
        return call.ask(guest -> {
            size.ifPresent(now -> guest.resize(name, now));
            return object();
        });
    }

    // --- input ---

    ObjectNode sendInput(EnvdCall call, Fields message) {
        ProcessName name = name(message);
        send(call, name, message, asked(call));
        return object();
    }

    ObjectNode closeStdin(EnvdCall call, Fields message) {
        ProcessName name = name(message);
        use(call, name, asked(call), input -> {
            if (input.hasTerminal()) {
                throw new ConnectFailure(
                        Code.INTERNAL, "the input of a terminal is not closed: send it Ctrl-D, which is 0x04");
            }
            memory.endInput(call.sandbox().id(), input.pid());
            input.end();
        });
        return object();
    }

    void streamInput(EnvdCall call, Bodies.Reader body) {
        InputStream frames = body.stream();
        Fields first =
                Frames.read(frames, body::makeRoom).orElseThrow(() -> ConnectFailure.invalid("there is no message"));
        ProcessName name =
                name(first.object("start").orElseThrow(() -> ConnectFailure.invalid("the first message is no start")));
        use(call, name, Waiting.HERE, input -> {}); // Whether it is there.
        for (Optional<Fields> next = Frames.read(frames, body::makeRoom);
                next.isPresent();
                next = Frames.read(frames, body::makeRoom)) {
            Optional<Fields> data = next.get().object("data");
            if (data.isPresent()) {
                send(call, name, data.get(), Waiting.HERE);
            } else if (!next.get().has("keepalive")) {
                throw ConnectFailure.invalid("a message is neither data nor keepalive");
            }
        }
    }

    private void send(EnvdCall call, ProcessName name, Fields message, Waiting waiting) {
        Fields input = message.object("input").orElseThrow(() -> ConnectFailure.invalid("input is missing"));
        Optional<byte[]> stdin = input.bytes("stdin");
        Optional<byte[]> typed = input.bytes("pty");
        byte[] bytes =
                stdin.or(() -> typed).orElseThrow(() -> ConnectFailure.invalid("input has neither stdin nor pty"));
        use(call, name, waiting, process -> {
            if (process.hasTerminal() != stdin.isEmpty()) {
                throw new ConnectFailure(
                        Code.INTERNAL,
                        process.hasTerminal()
                                ? "the process has a terminal: send its input as pty"
                                : "the process has no terminal: send its input as stdin");
            }
            // With no bytes it would be the end of the input.
            if (bytes.length > 0) {
                process.write(ByteBuffer.wrap(bytes));
            }
        });
    }

    /** How it is waited for a process that does not take its input. */
    private interface Waiting {
        /** For as long as that lasts, for a call that has a thread all the while. */
        Waiting HERE = BooleanSupplier::getAsBoolean;

        boolean run(BooleanSupplier job);
    }

    /** As for any answer of a guest: no longer than the client waits. */
    private static Waiting asked(EnvdCall call) {
        return job -> call.ask(guest -> job.getAsBoolean());
    }

    /** What is done with an input. */
    private interface Use {
        void of(GuestInput input);
    }

    /**
     * By the connection that is kept for as long as the process lasts: when it is closed, what the process has not taken
     * is lost.
     */
    private void use(EnvdCall call, ProcessName name, Waiting waiting, Use use) {
        Optional<GuestInput> kept = memory.input(call.sandbox().id(), name);
        // One that was kept may have ended, and its name be another's.
        if ((kept.isEmpty() || !use(call, name, waiting, kept.get(), use))
                && !use(call, name, waiting, open(call, name), use)) {
            throw new ConnectFailure(Code.NOT_FOUND, name + " has ended");
        }
    }

    /** False when it takes no more. */
    private boolean use(EnvdCall call, ProcessName name, Waiting waiting, GuestInput input, Use use) {
        if (!input.takesInput() || memory.isInputOver(call.sandbox().id(), input.pid())) {
            throw new ConnectFailure(
                    Code.INTERNAL,
                    input.takesInput() ? "the input of the process is closed" : "the process has no input");
        }
        boolean used = false;
        try {
            used = waiting.run(() -> {
                try {
                    use.of(input);
                    return true;
                } catch (Lost e) {
                    return false;
                }
            });
        } catch (ConnectFailure e) {
            used = true; // It was not sent anything.
            throw e;
        } finally {
            if (!used) {
                // Half a frame may have been sent.
                memory.forget(call.sandbox().id(), name, input);
                input.close();
            }
        }
        return used;
    }

    private GuestInput open(EnvdCall call, ProcessName name) {
        String sandbox = call.sandbox().id();
        Open<GuestInput> open = call.open(guest -> guest.input(name));
        GuestInput kept = memory.keep(sandbox, name, open.stream());
        if (kept != open.stream()) {
            open.close();
            return kept;
        }
        Guests.inThread("forkd-e2b-input", () -> {
            try (open) {
                open.stream().awaitEnd();
            } finally {
                memory.forget(sandbox, name, open.stream());
            }
        });
        return kept;
    }
}
