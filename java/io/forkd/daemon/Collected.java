package io.forkd.daemon;

import io.forkd.agent.AgentClient;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What a command in a guest writes, for an answer that is sent whole. Many may be collected at a time, and what they write
 * is the guests' choice: what is too much for one of them, or for all together, is left out, and said.
 */
final class Collected implements AgentClient.Output, AutoCloseable {
    private static final int MOST = 8 << 20;
    private static final long MOST_OF_ALL = 48L << 20;

    private static final AtomicLong ALL = new AtomicLong();

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();
    private String note = "";
    private long counted;
    private long lost;

    @Override
    public void stdout(byte[] bytes) {
        collect(bytes, out);
    }

    @Override
    public void stderr(byte[] bytes) {
        collect(bytes, err);
    }

    private void collect(byte[] bytes, ByteArrayOutputStream to) {
        if (to.size() + bytes.length > MOST || ALL.addAndGet(bytes.length) > MOST_OF_ALL) {
            if (to.size() + bytes.length <= MOST) {
                ALL.addAndGet(-bytes.length);
            }
            lost += bytes.length;
            return;
        }
        counted += bytes.length;
        to.writeBytes(bytes);
    }

    /** Something that the client should read where errors are. */
    void note(String sentence) {
        note = sentence;
    }

    String stdout() {
        return out.toString(StandardCharsets.UTF_8);
    }

    String stderr() {
        String text = err.toString(StandardCharsets.UTF_8);
        return text + line(text, note) + line(note, lost == 0 ? "" : lost + " bytes of output were left out");
    }

    private static String line(String before, String text) {
        return text.isEmpty() || before.isEmpty() || before.endsWith("\n") ? text : "\n" + text;
    }

    @Override
    public void close() {
        ALL.addAndGet(-counted);
    }
}
