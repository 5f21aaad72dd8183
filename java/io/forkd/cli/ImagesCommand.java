package io.forkd.cli;

import io.forkd.snapshot.SnapshotStore.Entry;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Command(name = "images", description = "Lists the snapshots, the newest first.", sortOptions = false)
final class ImagesCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print them as a JSON array.")
    boolean json;

    ImagesCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        List<Entry> entries = shell.engine().store().list();
        if (json) {
            printJson(entries);
        } else if (entries.isEmpty()) {
            shell.print("No snapshots in " + shell.engine().store().root());
            shell.note("Make one: forkd snapshot --tag TAG --rootfs FILE.ext4");
            shell.note("A kernel for it: forkd kernel install");
        } else {
            printTable(entries);
        }
        return 0;
    }

    private void printTable(List<Entry> entries) {
        int width =
                entries.stream().mapToInt(entry -> entry.tag().length()).max().orElse(0);
        String row = "%-" + Math.max(3, width) + "s  %10s  %10s  %9s  %s";
        shell.print(String.format(Locale.ROOT, row, "TAG", "SIZE", "MEMORY", "CREATED", "ROOTFS"));
        long total = 0;
        for (Entry entry : entries) {
            total += entry.bytes();
            shell.print(String.format(
                    Locale.ROOT,
                    row,
                    entry.tag(),
                    Format.size(entry.bytes()),
                    Format.size(entry.memoryBytes()),
                    entry.modified()
                            .map(time -> Format.age(Duration.between(time, Instant.now())))
                            .orElse("-"),
                    entry.hasRootfs() ? "yes" : "no"));
        }
        shell.print(entries.size() + (entries.size() == 1 ? " snapshot, " : " snapshots, ") + Format.size(total));
    }

    private void printJson(List<Entry> entries) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        for (Entry entry : entries) {
            ObjectNode node = array.addObject()
                    .put("tag", entry.tag())
                    .put("dir", entry.directory().toString())
                    .put("size_bytes", entry.bytes())
                    .put("memory_bytes", entry.memoryBytes())
                    .put("rootfs", entry.hasRootfs());
            entry.modified().ifPresent(time -> node.put("created_at", time.toString()));
        }
        shell.print(array.toPrettyString());
    }
}
