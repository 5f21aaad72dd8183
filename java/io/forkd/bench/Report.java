package io.forkd.bench;

import io.forkd.snapshot.SnapshotTag;
import java.util.List;

/** What a benchmark came to, and on what. {@code children} is how many there were at a time. */
public record Report(
        Benchmark benchmark,
        SnapshotTag tag,
        int children,
        int rounds,
        String processor,
        int processors,
        String kernel,
        List<Series> series) {

    public Report {
        series = List.copyOf(series);
    }

    static Report of(Benchmark benchmark, SnapshotTag tag, int children, int rounds, List<Series> series) {
        return new Report(
                benchmark,
                tag,
                children,
                rounds,
                ProcessFigures.processor(),
                Runtime.getRuntime().availableProcessors(),
                System.getProperty("os.version", "unknown"),
                series);
    }

    /** What was measured, in a line. */
    public String title() {
        return benchmark.label() + ": " + (children == 1 ? "1 child" : children + " children") + " of '" + tag + "', "
                + rounds + (rounds == 1 ? " round" : " rounds");
    }
}
