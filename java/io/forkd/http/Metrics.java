package io.forkd.http;

import io.prometheus.metrics.core.metrics.Histogram;
import io.prometheus.metrics.core.metrics.Info;
import io.prometheus.metrics.expositionformats.PrometheusTextFormatWriter;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.LongSupplier;

/** What is counted and timed, in the text format of Prometheus, version 0.0.4. Any thread may use it. */
public final class Metrics {
    /** How long something took, told apart by the values of a few labels. */
    public static final class Timing {
        private final Histogram histogram;

        private Timing(Histogram histogram) {
            this.histogram = histogram;
        }

        /**
         * Counts one time.
         *
         * @param labels as many values as the timing was made with names, each of them one of a few
         */
        public void observe(long nanos, String... labels) {
            histogram.labelValues(labels).observe(nanos / 1e9);
        }
    }

    private record Gauge(String name, String help, LongSupplier value) {
        String lines() {
            return "# HELP " + name + " " + help + "\n# TYPE " + name + " gauge\n" + name + " " + value.getAsLong()
                    + "\n";
        }
    }

    /** From a fork's time to that of an image pulled. */
    private static final double[] SECONDS = {
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60
    };

    private final PrometheusRegistry registry = new PrometheusRegistry();

    /**
     * Written here: the library would write 0.0, which clients do not look for, and has no gauge whose name ends in
     * _total, as that of one must.
     */
    private final List<Gauge> gauges = new CopyOnWriteArrayList<>();

    /** A number as it is when somebody looks. */
    public void gauge(String name, String help, LongSupplier value) {
        gauges.add(new Gauge(name, help, value));
    }

    /** A metric {@code name_info} that is always 1, and whose label tells something. */
    public void info(String name, String help, String label, String value) {
        Info.builder()
                .name(name)
                .help(help)
                .labelNames(label)
                .register(registry)
                .addLabelValues(value);
    }

    /**
     * A histogram of times.
     *
     * @param name ends in {@code _seconds}
     */
    public Timing timing(String name, String help, String... labels) {
        return new Timing(Histogram.builder()
                .name(name)
                .help(help)
                .labelNames(labels)
                .classicOnly()
                .withoutExemplars() // Of which there are none to tell, and a thread would be woken for each call.
                .classicUpperBounds(SECONDS)
                .register(registry));
    }

    public Response response() {
        return Response.text(200, "text/plain; version=0.0.4; charset=utf-8", text());
    }

    String text() {
        StringBuilder text = new StringBuilder();
        gauges.forEach(gauge -> text.append(gauge.lines()));
        ByteArrayOutputStream rest = new ByteArrayOutputStream();
        try {
            PrometheusTextFormatWriter.create().write(rest, registry.scrape());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return text + rest.toString(StandardCharsets.UTF_8);
    }
}
