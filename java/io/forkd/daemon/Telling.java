package io.forkd.daemon;

import io.forkd.Remedy;
import io.forkd.engine.Call;
import io.forkd.engine.Progress;
import io.forkd.image.Work;
import java.io.IOException;
import tools.jackson.databind.node.ObjectNode;

/** How a job goes on, as a client is told: a JSON object for each thing that is worth one. Any thread may tell. */
public final class Telling implements Progress {
    /** How often what is counted is told. */
    private static final long OFTEN_NANOS = 200_000_000;

    /** Takes a line; fails when nobody hears it. */
    public interface Lines {
        void line(ObjectNode line) throws IOException;
    }

    private final Lines lines;
    private long total;
    private long done;
    private long told;
    private boolean deaf;

    public Telling(Lines lines) {
        this.lines = lines;
    }

    /** Who hears nothing any more has gone away, and has the call cancelled by that. */
    private synchronized void line(ObjectNode line) {
        if (!deaf) {
            try {
                lines.line(line);
            } catch (IOException e) {
                deaf = true;
            }
        }
    }

    @Override
    public void step(String what) {
        line(Wire.object().put("step", what));
    }

    @Override
    public void warn(String what, Remedy remedy) {
        line(Wire.object().put("warning", what));
    }

    private synchronized void begin(String what, long bytes) {
        total = bytes;
        done = 0;
        told = System.nanoTime();
        line(Wire.object().put("step", what).put("bytes_total", bytes));
    }

    private synchronized void advance(long bytes) {
        done += bytes;
        long now = System.nanoTime();
        if (now - told >= OFTEN_NANOS || (total > 0 && done >= total)) {
            told = now;
            line(Wire.object().put("bytes_done", done).put("bytes_total", total));
        }
    }

    /** The same job, as who pulls and builds sees it. */
    public Work work(Call call) {
        return new Work() {
            @Override
            public void begin(String what, long bytes) {
                Telling.this.begin(what, bytes);
            }

            @Override
            public void advance(long bytes) {
                Telling.this.advance(bytes);
            }

            @Override
            public void say(String text) {
                line(Wire.object().put("note", text));
            }

            @Override
            public void onEnd(Runnable end) {
                call.onCancel(end);
            }

            @Override
            public void check() {
                call.check();
            }
        };
    }
}
