package io.forkd.cli;

import io.forkd.Json;
import io.forkd.agent.AgentClient;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * What a child writes, as it comes: whole lines, each with the child's name, so that those of many can be told apart. A
 * line that is longer than 64 KiB is broken. For one thread; the streams are shared with those of other children.
 */
final class NamedLines implements AgentClient.Output {
    private static final int LONGEST = 64 * 1024;

    private final Shell shell;
    private final String name;
    private final boolean json;
    private final Lines out;
    private final Lines err;

    NamedLines(Shell shell, String name, boolean json) {
        this.shell = shell;
        this.name = name;
        this.json = json;
        this.out = new Lines("stdout", shell.out());
        this.err = new Lines("stderr", json ? shell.out() : shell.err());
    }

    @Override
    public void stdout(byte[] bytes) {
        out.add(bytes);
    }

    @Override
    public void stderr(byte[] bytes) {
        err.add(bytes);
    }

    /** Writes the last line also when the child did not end it. */
    void end() {
        out.end();
        err.end();
    }

    private final class Lines {
        private final byte[] prefix = (name + ": ").getBytes(StandardCharsets.UTF_8);
        private final String stream;
        private final PrintStream to;
        private final ByteArrayOutputStream line = new ByteArrayOutputStream();
        private final ByteArrayOutputStream ready = new ByteArrayOutputStream();

        Lines(String stream, PrintStream to) {
            this.stream = stream;
            this.to = to;
        }

        void add(byte[] bytes) {
            for (byte b : bytes) {
                if (b != '\n') {
                    line.write(b);
                }
                if (b == '\n' || line.size() == LONGEST) {
                    endLine();
                }
            }
            write();
        }

        void end() {
            if (line.size() > 0) {
                endLine();
            }
            write();
        }

        private void endLine() {
            if (json) {
                ready.writeBytes(Json.bytes(Shell.json()
                        .put("event", "output")
                        .put("name", name)
                        .put("stream", stream)
                        .put("line", line.toString(StandardCharsets.UTF_8))));
            } else {
                ready.writeBytes(prefix);
                ready.writeBytes(line.toByteArray());
            }
            ready.write('\n');
            line.reset();
            if (ready.size() > LONGEST) {
                write();
            }
        }

        private void write() {
            if (ready.size() > 0) {
                shell.write(to, ready.toByteArray());
                ready.reset();
            }
        }
    }
}
