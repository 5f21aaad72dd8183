package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A running forkd-pager: files that others can open, read and map while they are fetched. It goes on when this process
 * ends, for as long as somebody has one of the files; what has not come by then never comes.
 */
final class Pager implements AutoCloseable {
    private static final Pattern ANSWER = Pattern.compile("ok ([0-9]{1,4})|error ([0-9]{1,4}) (.*)");
    private static final int MOST_SAID = 2048;

    /** In place of a file. */
    private static final int CONTROL = -1;

    private static final int LET_GO = 0;
    private static final int COMPLETE = 1;

    private final Process process;
    private final OutputStream to;
    private final int first;

    /** Hears which piece of which file somebody waits for, on a thread of its own. */
    interface Wanted {
        void piece(int file, int piece);
    }

    /** A file, of its full size, that is made in such pieces. */
    record Served(Path file, int piece) {}

    private Pager(Process process, int first) {
        this.process = process;
        this.to = process.getOutputStream();
        this.first = first;
    }

    static Pager start(Path program, List<Served> files, Wanted wanted) {
        List<String> command = new ArrayList<>(List.of(program.toString()));
        for (Served each : files) {
            command.add(Integer.toString(each.piece()));
            command.add(each.file().toString());
        }
        try {
            Process process = new ProcessBuilder(command)
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            InputStream from = process.getInputStream();
            Matcher answer = ANSWER.matcher(line(from));
            if (!answer.matches() || answer.group(1) == null) {
                process.destroyForcibly();
                throw new ForkdException(
                        Kind.UNSUPPORTED,
                        "a snapshot cannot be started before it is all here: "
                                + (answer.matches() ? answer.group(3) : "forkd-pager ended"),
                        "It takes /dev/fuse (modprobe fuse) that this user may open, and root or user namespaces. Or pull"
                                + " all of it first.");
            }
            Pager pager = new Pager(process, Integer.parseInt(answer.group(1)));
            Thread listener = new Thread(() -> listen(from, wanted), "forkd-pager");
            listener.setDaemon(true);
            listener.start();
            return pager;
        } catch (IOException e) {
            throw ForkdException.of("start " + program, e);
        }
    }

    private static String line(InputStream from) throws IOException {
        StringBuilder line = new StringBuilder();
        for (int next = from.read(); next >= 0 && next != '\n' && line.length() < MOST_SAID; next = from.read()) {
            line.append((char) next);
        }
        return new String(line.toString().getBytes(StandardCharsets.ISO_8859_1), StandardCharsets.UTF_8);
    }

    private static void listen(InputStream from, Wanted wanted) {
        byte[] message = new byte[2 * Integer.BYTES];
        try {
            while (from.readNBytes(message, 0, message.length) == message.length) {
                ByteBuffer numbers = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
                wanted.piece(numbers.getInt(), numbers.getInt());
            }
        } catch (IOException e) {
            // It has ended, and nobody waits any more.
        }
    }

    /** Where others open the file with that number, until {@link #letGo}. */
    Path path(int file) {
        return Path.of("/proc/" + process.pid() + "/fd/" + (first + file));
    }

    /** A piece is there, and can be read from the file. */
    void have(int file, int piece) {
        say(file, piece);
    }

    /** Everybody has opened what he is to have. */
    void letGo() {
        say(CONTROL, LET_GO);
    }

    /** All is there. */
    void complete() {
        say(CONTROL, COMPLETE);
    }

    private synchronized void say(int file, int piece) {
        try {
            to.write(ByteBuffer.allocate(2 * Integer.BYTES)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .putInt(file)
                    .putInt(piece)
                    .array());
            to.flush();
        } catch (IOException e) {
            // It has ended, since nobody has any of the files any more.
        }
    }

    /** Nothing more comes: who waits for what is not there fails. */
    @Override
    public void close() {
        try {
            to.close();
        } catch (IOException e) {
            // It has ended.
        }
    }
}
