package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.bench.Benchmark;
import io.forkd.bench.Plot;
import io.forkd.bench.Report;
import io.forkd.bench.Runner;
import io.forkd.bench.Series;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "bench",
        description = {
            "Measures this machine with one of your snapshots.",
            "fork: N children at once, until they are ready.",
            "restore: one child, with its fork server.",
            "idle: memory and CPU time of N children that do nothing.",
            "eval: an expression in the warm interpreter, against exec python3 -c, in the same child;",
            "and as the first in a child, without and with the snapshot's working set."
        },
        sortOptions = false)
final class BenchCommand implements Callable<Integer> {
    private static final int DEFAULT_CHILDREN = 10;

    private final Shell shell;

    @Parameters(index = "0", paramLabel = "fork|restore|idle|eval", description = "What to measure.")
    Benchmark benchmark = Benchmark.FORK;

    @Option(
            names = "--tag",
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "The snapshot. Default: the newest.")
    Optional<SnapshotTag> tag = Optional.empty();

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            description = "For fork and idle: how many children, 1 to 10000. Default: 10.")
    Optional<Integer> count = Optional.empty();

    @Option(
            names = "--rounds",
            paramLabel = "N",
            defaultValue = "10",
            description = "How often. Default: ${DEFAULT-VALUE}.")
    int rounds;

    @Option(
            names = "--code",
            paramLabel = "EXPRESSION",
            defaultValue = "6*7",
            description = "For eval: what to evaluate. Default: ${DEFAULT-VALUE}.")
    String code = "";

    @Option(
            names = "--setup",
            paramLabel = "CODE",
            defaultValue = "",
            description = "For eval: what a fresh interpreter has to run first, such as 'import numpy'.")
    String setup = "";

    @Option(names = "--json", description = "Print one JSON object, with every sample.")
    boolean json;

    @Option(names = "--plot", paramLabel = "FILE.svg", description = "Draw the samples into this file, too.")
    Optional<Path> plot = Optional.empty();

    BenchCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        boolean several = benchmark == Benchmark.FORK || benchmark == Benchmark.IDLE;
        if (count.isPresent() && !several) {
            throw new ForkdException(Kind.USAGE, "-n is for fork and idle");
        }
        int children = count.orElse(DEFAULT_CHILDREN);
        MachineOptions.requireRange("-n", children, 1, ForkOptions.MAX_CHILDREN);
        MachineOptions.requireRange("--rounds", rounds, 1, 100_000);
        Runner runner = new Runner(shell.engine(), shell.call(), tag.orElseGet(this::newest), rounds);
        Report report = switch (benchmark) {
            case FORK -> runner.fork(children);
            case RESTORE -> runner.restore();
            case IDLE -> runner.idle(children);
            case EVAL -> runner.eval(code, setup);
        };
        shell.clear();
        if (json) {
            shell.print(json(report));
        } else {
            printTable(report);
        }
        plot.ifPresent(file -> draw(report, file));
        return 0;
    }

    private SnapshotTag newest() {
        return shell.engine().store().list().stream()
                .findFirst()
                .map(entry -> new SnapshotTag(entry.tag()))
                .orElseThrow(() -> new ForkdException(
                        Kind.NOT_FOUND,
                        "there is no snapshot to measure",
                        "Make one: forkd snapshot --tag TAG --rootfs FILE.ext4"));
    }

    private void printTable(Report report) {
        shell.print(report.title());
        int width = report.series().stream()
                .mapToInt(series -> series.name().length() + series.unit().length() + 2)
                .max()
                .orElse(0);
        String row = "%-" + width + "s  %10s  %10s  %10s  %10s";
        shell.print(String.format(Locale.ROOT, row, "", "p50", "p99", "least", "most"));
        for (Series series : report.series()) {
            shell.print(String.format(
                    Locale.ROOT,
                    row,
                    series.name() + ", " + series.unit(),
                    number(series.median()),
                    number(series.percentile(99)),
                    number(series.least()),
                    number(series.most())));
        }
    }

    private static String number(double value) {
        return String.format(Locale.ROOT, "%.2f", value);
    }

    private static ObjectNode json(Report report) {
        ObjectNode node = Shell.json()
                .put("bench", report.benchmark().label())
                .put("tag", report.tag().value())
                .put("children", report.children())
                .put("rounds", report.rounds())
                .put("processor", report.processor())
                .put("processors", report.processors())
                .put("kernel", report.kernel());
        ArrayNode all = node.putArray("series");
        for (Series series : report.series()) {
            ArrayNode samples = all.addObject()
                    .put("name", series.name())
                    .put("unit", series.unit())
                    .put("p50", series.median())
                    .put("p99", series.percentile(99))
                    .put("min", series.least())
                    .put("max", series.most())
                    .putArray("samples");
            series.samples().forEach(samples::add);
        }
        return node;
    }

    private static void draw(Report report, Path file) {
        String title = report.title() + " (" + report.processor() + ", " + report.processors() + " CPUs, Linux "
                + report.kernel() + ")";
        try {
            Files.writeString(file, Plot.svg(title, report.series()));
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }
}
