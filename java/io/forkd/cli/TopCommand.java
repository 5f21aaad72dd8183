package io.forkd.cli;

import io.forkd.agent.GuestMetrics;
import io.forkd.engine.Parallel;
import io.forkd.sandbox.Figures;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "top",
        description =
                "Shows what sandboxes take of the host, again and again until it is interrupted: CPU, in percent of"
                        + " one processor since the last time; OWN, memory that nobody else has; RESIDENT, with what they share.",
        sortOptions = false)
final class TopCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(
            names = "--interval",
            paramLabel = "S",
            defaultValue = "2",
            description = "How many seconds between, 1 to 3600. Default: ${DEFAULT-VALUE}.")
    int interval;

    @Option(names = "--once", description = "Show it once, of one interval.")
    boolean once;

    @Option(
            names = "--guests",
            description = "Ask the guests, too, and show what their kernels say: memory without caches, the disk that /"
                    + " is on, processes. A sandbox is used by that.")
    boolean guests;

    @Option(names = "--json", description = "Print it once, as a JSON array.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    TopCommand(Shell shell) {
        this.shell = shell;
    }

    /** Of one sandbox at one time. */
    private record Sample(SandboxView sandbox, Optional<Figures> figures, Optional<GuestMetrics> guest, long nanos) {}

    @Override
    public Integer call() {
        MachineOptions.requireRange("--interval", interval, 1, 3600);
        Backend backend = remote.backend(shell);
        Map<String, Sample> before = byId(look(backend));
        do {
            shell.call().interruptibly(() -> {
                try {
                    Thread.sleep(interval * 1000L);
                } catch (InterruptedException e) {
                    shell.call().check();
                }
                return true;
            });
            List<Sample> now = look(backend);
            if (json) {
                shell.print(json(now, before).toPrettyString());
            } else {
                print(now, before);
            }
            before = byId(now);
        } while (!once && !json);
        return 0;
    }

    private List<Sample> look(Backend backend) {
        return Parallel.map(
                backend.sandboxes(),
                sandbox -> new Sample(
                        sandbox,
                        backend.figures(sandbox.id()),
                        guests && sandbox.state().equals("running")
                                ? backend.guestFigures(sandbox.id())
                                : Optional.empty(),
                        System.nanoTime()));
    }

    private static Map<String, Sample> byId(List<Sample> samples) {
        Map<String, Sample> found = new HashMap<>();
        samples.forEach(sample -> found.put(sample.sandbox().id(), sample));
        return found;
    }

    private static Optional<Double> percent(Sample now, Map<String, Sample> all) {
        Optional<Sample> before = Optional.ofNullable(all.get(now.sandbox().id()));
        if (now.figures().isEmpty() || before.flatMap(Sample::figures).isEmpty()) {
            return Optional.empty();
        }
        long micros =
                now.figures().get().cpuMicros() - before.get().figures().get().cpuMicros();
        // One that was resumed meanwhile began anew.
        return micros < 0
                ? Optional.empty()
                : Optional.of(100_000.0 * micros / (now.nanos() - before.get().nanos()));
    }

    private void print(List<Sample> now, Map<String, Sample> before) {
        List<String> head = new ArrayList<>(List.of("ID", "NAME", "CPU", "OWN", "RESIDENT", "THREADS"));
        if (guests) {
            head.addAll(List.of("GUEST_MEMORY", "GUEST_DISK", "PROCESSES"));
        }
        head.add("STATE");
        Table table = new Table(head.toArray(String[]::new));
        for (Sample sample : now) {
            Optional<Figures> figures = sample.figures();
            List<String> row = new ArrayList<>(List.of(
                    sample.sandbox().id(),
                    sample.sandbox().name(),
                    percent(sample, before)
                            .map(percent -> String.format(Locale.ROOT, "%.1f %%", percent))
                            .orElse("-"),
                    figures.map(each -> (each.ownBytes() >> 20) + " MiB").orElse("-"),
                    figures.map(each -> (each.residentBytes() >> 20) + " MiB").orElse("-"),
                    figures.map(each -> Integer.toString(each.threads())).orElse("-")));
            if (guests) {
                Optional<GuestMetrics> guest = sample.guest();
                row.add(guest.map(each -> share(each.memoryUsedBytes(), each.memoryBytes()))
                        .orElse("-"));
                row.add(guest.map(each -> share(each.diskUsedBytes(), each.diskBytes()))
                        .orElse("-"));
                row.add(guest.map(each -> Long.toString(each.processes())).orElse("-"));
            }
            row.add(sample.sandbox().state());
            table.row(row.toArray(String[]::new));
        }
        table.print(shell);
        shell.print("");
    }

    private static String share(long used, long all) {
        return (used >> 20) + " of " + (all >> 20) + " MiB";
    }

    private static ArrayNode json(List<Sample> now, Map<String, Sample> before) {
        ArrayNode all = JsonNodeFactory.instance.arrayNode();
        for (Sample sample : now) {
            ObjectNode node = all.addObject()
                    .put("id", sample.sandbox().id())
                    .put("state", sample.sandbox().state());
            sample.figures()
                    .ifPresent(figures -> node.put("cpu_usec", figures.cpuMicros())
                            .put("own_bytes", figures.ownBytes())
                            .put("resident_bytes", figures.residentBytes())
                            .put("threads", figures.threads()));
            sample.guest().ifPresent(guest -> guest.put(node.putObject("guest")));
            percent(sample, before).ifPresent(percent -> node.put("cpu_percent", percent));
        }
        return all;
    }
}
