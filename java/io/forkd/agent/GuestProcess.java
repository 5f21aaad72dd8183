package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.GuestStream.Piece;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Optional;

/**
 * A program in a guest, and one listener to it. One thread may read ({@link #next}), others may write, signal and resize,
 * and any may close it, which does not end the program. Who does not read holds it back.
 */
public final class GuestProcess implements AutoCloseable {
    static final int MAX_SIGNAL = 127;

    /** What the program does next. Bytes are good until the next event is asked for. */
    public sealed interface Event {
        /** It wrote this, or its terminal shows it. */
        record Stdout(ByteBuffer bytes) implements Event {}

        record Stderr(ByteBuffer bytes) implements Event {}

        record Ended(Exit exit) implements Event {}
    }

    /**
     * How it ended.
     *
     * @param code 0 to 255, or minus the number of the signal that ended it
     * @param timedOut it was ended for its time
     */
    public record Exit(int code, boolean timedOut) {}

    /** How many bytes there were before, of each output, counted from the start of the process. */
    public record Position(long stdout, long stderr) {
        public static final Position START = new Position(0, 0);
    }

    /** Takes what a program writes, as it is written: until these return the bytes are good. */
    public interface Output {
        void stdout(ByteBuffer bytes);

        void stderr(ByteBuffer bytes);
    }

    private final GuestStreams guest;
    private final GuestStream stream;
    private final long pid;
    private final Optional<String> tag;
    private final boolean terminal;
    private final boolean input;
    private volatile Position position;

    private GuestProcess(
            GuestStreams guest,
            GuestStream stream,
            long pid,
            Optional<String> tag,
            boolean terminal,
            boolean input,
            Position position) {
        this.guest = guest;
        this.stream = stream;
        this.pid = pid;
        this.tag = tag;
        this.terminal = terminal;
        this.input = input;
        this.position = position;
    }

    static GuestProcess started(GuestStreams guest, GuestStream stream, RunRequest request) {
        boolean terminal = request.terminal().isPresent();
        return new GuestProcess(
                guest,
                allowing(stream, terminal),
                pid(stream),
                request.tag(),
                terminal,
                terminal || request.stdin(),
                Position.START);
    }

    static GuestProcess attached(GuestStreams guest, GuestStream stream, Optional<Position> wanted) {
        GuestAnswer answer = stream.answer();
        long[] from = answer.pair("from");
        Position asked = wanted.orElse(Position.START);
        if (from[0] < asked.stdout() || from[1] < asked.stderr()) {
            throw answer.broken("from");
        }
        boolean terminal = answer.flag("pty");
        return new GuestProcess(
                guest,
                allowing(stream, terminal),
                pid(stream),
                answer.optionalText("tag"),
                terminal,
                answer.flag("stdin"),
                new Position(from[0], from[1]));
    }

    private static GuestStream allowing(GuestStream stream, boolean terminal) {
        return terminal
                ? stream.allowing(GuestStream.Type.OUT)
                : stream.allowing(GuestStream.Type.OUT, GuestStream.Type.ERR);
    }

    private static long pid(GuestStream stream) {
        return stream.answer().number("pid", 1, Integer.MAX_VALUE);
    }

    /** In the guest. */
    public long pid() {
        return pid;
    }

    public ProcessName name() {
        return new ProcessName.Pid(pid);
    }

    public Optional<String> tag() {
        return tag;
    }

    /** Then all that it writes is stdout. */
    public boolean hasTerminal() {
        return terminal;
    }

    public boolean takesInput() {
        return input;
    }

    /**
     * Where the next byte of each output is: another who attaches from there misses nothing and has nothing twice. At
     * first, where this listener begins, which may be later than it asked for.
     */
    public Position position() {
        return position;
    }

    /**
     * Waits for what it does next; after its end that is its end.
     *
     * @throws GuestException.Lost when the connection ends before the program; it may go on
     */
    public Event next() {
        while (true) {
            Piece piece = stream.next();
            if (piece instanceof Piece.End end) {
                return new Event.Ended(new Exit(
                        (int) end.end().number("exit_code", -MAX_SIGNAL, 255),
                        end.end().flag("timed_out")));
            }
            if (piece instanceof Piece.Bytes part && part.bytes().hasRemaining()) {
                int count = part.bytes().remaining();
                Position at = position;
                if (part.type() == GuestStream.Type.OUT) {
                    position = new Position(at.stdout() + count, at.stderr());
                    return new Event.Stdout(part.bytes());
                }
                position = new Position(at.stdout(), at.stderr() + count);
                return new Event.Stderr(part.bytes());
            }
        }
    }

    /** Waits so long until there is something for {@link #next} to tell; false when there is nothing yet. */
    public boolean awaitNews(Duration time) {
        return stream.awaitNews(time);
    }

    /** Passes on what it writes until it has ended. */
    public Exit await(Output output) {
        while (true) {
            Event event = next();
            if (event instanceof Event.Stdout out) {
                output.stdout(out.bytes());
            } else if (event instanceof Event.Stderr err) {
                output.stderr(err.bytes());
            } else if (event instanceof Event.Ended ended) {
                return ended.exit();
            }
        }
    }

    /**
     * Sends it input, when it takes any; waits until there is room for that.
     *
     * @throws GuestException.Lost when it has ended
     */
    public void write(ByteBuffer bytes) {
        requireInput();
        stream.send(bytes);
    }

    /** Says that there is no more input: for all who are attached. A terminal sends its end-of-file character. */
    public void endInput() {
        requireInput();
        stream.sendEnd();
    }

    private void requireInput() {
        if (!input) {
            throw new ForkdException(Kind.USAGE, name() + " takes no input");
        }
    }

    /** Sends it everything that there is, to the end, or to that of the program. */
    public void feed(InputStream from) throws IOException {
        byte[] chunk = new byte[GuestStream.MAX_PAYLOAD];
        try {
            for (int count = from.read(chunk); count >= 0; count = from.read(chunk)) {
                write(ByteBuffer.wrap(chunk, 0, count));
            }
            endInput();
        } catch (GuestException.Lost e) {
            // It has ended, or its reader finds out.
        }
    }

    /**
     * Sends it a signal.
     *
     * @param group to all processes of its session
     */
    public void signal(int signal, boolean group) {
        guest.signal(name(), signal, group);
    }

    public void resize(TerminalSize size) {
        guest.resize(name(), size);
    }

    @Override
    public void close() {
        stream.close();
    }
}
