package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotStore.Entry;
import io.forkd.snapshot.SnapshotTag;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "images",
        description = "Lists the snapshots, the newest first, with what they take on the disk (without caches).",
        sortOptions = false)
final class ImagesCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print them as a JSON array.")
    boolean json;

    @Option(names = "--tree", description = "Show which is based on which.")
    boolean tree;

    ImagesCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        List<Entry> entries = shell.engine().store().list();
        if (json && tree) {
            throw new ForkdException(Kind.USAGE, "--json and --tree exclude each other");
        }
        if (json) {
            printJson(entries);
        } else if (entries.isEmpty()) {
            shell.print("No snapshots in " + shell.engine().store().root());
            shell.note("forkd snapshot --tag TAG --rootfs FILE.ext4 makes one.");
            shell.note("A kernel for it: forkd kernel install");
        } else if (tree) {
            Set<String> tags = entries.stream().map(Entry::tag).collect(Collectors.toSet());
            entries.stream()
                    .filter(entry -> entry.parent()
                            .map(parent -> !tags.contains(parent.value()))
                            .orElse(true))
                    .forEach(root -> printTree(root, entries, 0));
        } else {
            printTable(entries);
        }
        return 0;
    }

    private void printTable(List<Entry> entries) {
        int width =
                entries.stream().mapToInt(entry -> entry.tag().length()).max().orElse(0);
        String row = "%-" + Math.max(3, width) + "s  %10s  %10s  %9s  %-6s  %s";
        shell.print(String.format(Locale.ROOT, row, "TAG", "SIZE", "MEMORY", "CREATED", "ROOTFS", "STATE"));
        long total = 0;
        for (Entry entry : entries) {
            long bytes = entry.bytes();
            total += bytes;
            shell.print(String.format(
                    Locale.ROOT,
                    row,
                    entry.tag(),
                    Format.size(bytes),
                    Format.size(entry.memoryBytes()),
                    entry.modified()
                            .map(time -> Format.age(Duration.between(time, Instant.now())))
                            .orElse("-"),
                    entry.hasRootfs() ? "yes" : "no",
                    state(entry)));
        }
        shell.print(entries.size() + (entries.size() == 1 ? " snapshot, " : " snapshots, ") + Format.size(total));
    }

    /** A cycle has no root, so that nothing of it is printed. */
    private void printTree(Entry entry, List<Entry> entries, int depth) {
        shell.print("  ".repeat(depth) + entry.tag() + "  " + Format.size(entry.bytes())
                + (entry.state() == State.COMPLETE ? "" : "  " + state(entry))
                + (depth == 0 && entry.parent().isPresent()
                        ? "  (its parent " + entry.parent().get() + " is missing)"
                        : ""));
        entries.stream()
                .filter(child -> child.parent().map(SnapshotTag::value).equals(Optional.of(entry.tag())))
                .forEach(child -> printTree(child, entries, depth + 1));
    }

    private static String state(Entry entry) {
        return entry.state().name().toLowerCase(Locale.ROOT);
    }

    private void printJson(List<Entry> entries) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        for (Entry entry : entries) {
            ObjectNode node = array.addObject()
                    .put("tag", entry.tag())
                    .put("dir", entry.directory().toString())
                    .put("size_bytes", entry.bytes())
                    .put("memory_bytes", entry.memoryBytes())
                    .put("rootfs", entry.hasRootfs())
                    .put("state", state(entry));
            entry.parent().ifPresent(parent -> node.put("parent_tag", parent.value()));
            entry.modified().ifPresent(time -> node.put("created_at", time.toString()));
        }
        shell.print(array.toPrettyString());
    }
}
