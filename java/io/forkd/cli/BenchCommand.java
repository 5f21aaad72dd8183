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
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "bench",
        description = {
            "Measures this machine with one of your snapshots. With nothing named, a sandbox's life once: spawned, asked,"
                    + " branched, N forked of the branch, and all removed.",
            "fork: N children at once, until they are ready.",
            "restore: one child, with its fork server.",
            "idle: memory and CPU time of N children that do nothing.",
            "eval: an expression in the warm interpreter, against exec python3 -c, in the same child;",
            "and as the first in a child, without and with the snapshot's working set."
        },
        sortOptions = false)
final class BenchCommand implements Callable<Integer> {
    private static final int DEFAULT_CHILDREN = 10;
    private static final int DEFAULT_BRANCHED = 5;
    private static final int DEFAULT_ROUNDS = 10;

    private final Shell shell;

    @Parameters(arity = "0..1", paramLabel = "fork|restore|idle|eval", description = "What to measure.")
    Optional<Benchmark> benchmark = Optional.empty();

    @Option(
            names = "--tag",
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "The snapshot. Default: the newest.")
    Optional<SnapshotTag> tag = Optional.empty();

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            description =
                    "How many children, 1 to 10000, for fork and idle (default 10) and of the branch (default 5).")
    Optional<Integer> count = Optional.empty();

    @Option(names = "--rounds", paramLabel = "N", description = "For what is named: how often. Default: 10.")
    Optional<Integer> rounds = Optional.empty();

    @Option(
            names = "--per-child-netns",
            arity = "1",
            paramLabel = "true|false",
            description = "With nothing named: each sandbox has a network namespace forkd-child-<i>, which must exist."
                    + " Default: false.")
    boolean perChildNetns;

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

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    BenchCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        count.ifPresent(children -> MachineOptions.requireRange("-n", children, 1, ForkOptions.MAX_CHILDREN));
        rounds.ifPresent(times -> MachineOptions.requireRange("--rounds", times, 1, 100_000));
        if (benchmark.isPresent()) {
            measure(benchmark.get());
        } else {
            live();
        }
        return 0;
    }

    private void live() {
        if (rounds.isPresent() || plot.isPresent()) {
            throw new ForkdException(Kind.USAGE, "--rounds and --plot are for fork, restore, idle and eval");
        }
        Backend backend = remote.backend(shell);
        LifeBench life = new LifeBench(
                backend,
                tag.or(backend::anySnapshot).orElseThrow(BenchCommand::nothingToMeasure),
                count.orElse(DEFAULT_BRANCHED),
                perChildNetns);
        life.run();
        shell.clear();
        if (json) {
            shell.print(life.json());
        } else {
            life.print(shell);
        }
    }

    private void measure(Benchmark named) {
        if (count.isPresent() && named != Benchmark.FORK && named != Benchmark.IDLE) {
            throw new ForkdException(Kind.USAGE, "-n is for fork and idle");
        }
        if (remote.onCommandLine() || perChildNetns) {
            throw new ForkdException(Kind.USAGE, "--daemon-url and --per-child-netns are for bench with nothing named");
        }
        Runner runner =
                new Runner(shell.engine(), shell.call(), tag.orElseGet(this::newest), rounds.orElse(DEFAULT_ROUNDS));
        int children = count.orElse(DEFAULT_CHILDREN);
        Report report = switch (named) {
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
    }

    private SnapshotTag newest() {
        return new FolderBackend(shell).anySnapshot().orElseThrow(BenchCommand::nothingToMeasure);
    }

    private static ForkdException nothingToMeasure() {
        return new ForkdException(
                Kind.NOT_FOUND,
                "there is no snapshot to measure",
                "forkd snapshot --tag TAG --rootfs FILE.ext4 makes one.");
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
