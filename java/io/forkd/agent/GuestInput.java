package io.forkd.agent;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;

/**
 * The input of a process of a guest, without its output. What it has not taken when this is closed is lost. One thread may
 * wait while others write, and any may close it.
 */
public final class GuestInput implements AutoCloseable {
    private final GuestStream stream;
    private final GuestProcess process;

    GuestInput(GuestStream stream, GuestProcess process) {
        this.stream = stream;
        this.process = process;
    }

    /** In the guest. */
    public long pid() {
        return process.pid();
    }

    public boolean hasTerminal() {
        return process.hasTerminal();
    }

    public boolean takesInput() {
        return process.takesInput();
    }

    /** As {@link GuestProcess#write}. */
    public void write(ByteBuffer bytes) {
        process.write(bytes);
    }

    /** As {@link GuestProcess#endInput}. */
    public void end() {
        process.endInput();
    }

    /** Sends everything that there is, and its end, and waits as {@link #awaitEnd}. */
    void feed(InputStream from) throws IOException {
        process.feed(from);
        awaitEnd();
    }

    /** Waits until the process has ended, or taken everything up to its {@link #end}. */
    public void awaitEnd() {
        stream.next();
    }

    @Override
    public void close() {
        stream.close();
    }
}
