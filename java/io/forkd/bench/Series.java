package io.forkd.bench;

import java.util.List;

/**
 * One thing, measured several times.
 *
 * @param samples in the order they were taken; at least one
 */
public record Series(String name, String unit, List<Double> samples) {
    public Series {
        samples = List.copyOf(samples);
        if (samples.isEmpty()) {
            throw new IllegalArgumentException(name + " has no samples");
        }
    }

    public double median() {
        return percentile(50);
    }

    /** The smallest sample that so many of a hundred do not exceed. */
    public double percentile(int percent) {
        List<Double> sorted = samples.stream().sorted().toList();
        return sorted.get(Math.max(0, (int) Math.ceil(sorted.size() * percent / 100.0) - 1));
    }

    public double least() {
        return percentile(0);
    }

    public double most() {
        return percentile(100);
    }
}
