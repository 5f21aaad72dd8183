package io.forkd.engine;

/** Says how much of a long step is done, and ends it when nobody waits for it any more. */
final class Percent {
    private final Call call;
    private final String what;
    private final long total;
    private long done;
    private long told = -1;

    Percent(Call call, String what, long total) {
        this.call = call;
        this.what = what;
        this.total = Math.max(1, total);
    }

    void add(long bytes) {
        call.check();
        done += bytes;
        long percent = Math.min(100, (long) (100.0 * done / total));
        if (percent != told) {
            told = percent;
            call.step(what + ": " + percent + " %");
        }
    }
}
