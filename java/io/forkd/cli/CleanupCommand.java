package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.files.Trees;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
        name = "cleanup",
        description = "Finds what has been left behind: folders of commands, sandboxes and servers that died, half-made"
                + " snapshots, branches that failed, and kept work folders in /tmp. Lists them; --yes deletes them.",
        sortOptions = false)
final class CleanupCommand implements Callable<Integer> {
    private static final List<String> PREFIXES =
            List.of("forkd-fork-", "forkd-parent-", "forkd-unpack-", "forkd-pull-");

    private final Shell shell;

    @Option(
            names = {"-y", "--yes"},
            description = "Delete them.")
    boolean yes;

    CleanupCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        List<Path> found = new ArrayList<>(shell.engine().leftovers());
        List<SnapshotTag> failed = shell.engine().snapshots().failed();
        failed.forEach(tag -> found.add(shell.engine().store().directory(tag)));
        List<Path> kept = keptWork();
        found.addAll(kept);
        long total = 0;
        for (Path entry : found) {
            long size = size(entry);
            total += size;
            shell.print((yes ? "deleted  " : "found    ") + Format.size(size) + "  " + entry);
        }
        if (yes) {
            failed.forEach(tag -> shell.engine().snapshots().remove(tag, false, false, removed -> {}));
            kept.forEach(CleanupCommand::delete);
            shell.engine().sweep();
        }
        if (found.isEmpty()) {
            shell.print("nothing to clean up");
        } else {
            shell.print(found.size() + (yes ? " deleted, " : " found, ") + Format.size(total));
            if (!yes) {
                shell.note("Nothing was deleted; forkd cleanup --yes does it.");
            }
        }
        return 0;
    }

    /** Work folders that were kept, unless something has files of them open. */
    private List<Path> keptWork() {
        List<Path> found = named(Path.of(System.getProperty("java.io.tmpdir")));
        if (found.isEmpty()) {
            return found;
        }
        Set<Path> used = openFiles();
        List<Path> unused = new ArrayList<>();
        for (Path entry : found) {
            if (used.stream().anyMatch(file -> file.startsWith(entry))) {
                shell.print("skipped (in use)  " + entry);
            } else {
                unused.add(entry);
            }
        }
        return unused;
    }

    private static long size(Path entry) {
        try {
            return Trees.size(entry);
        } catch (IOException e) {
            throw ForkdException.of("look at " + entry, e);
        }
    }

    private static void delete(Path entry) {
        try {
            Trees.delete(entry);
        } catch (IOException e) {
            throw ForkdException.of("delete " + entry, e);
        }
    }

    private static List<Path> named(Path tmp) {
        try {
            return Trees.list(tmp).stream()
                    .filter(entry -> PREFIXES.stream()
                            .anyMatch(prefix -> entry.getFileName().toString().startsWith(prefix)))
                    .toList();
        } catch (IOException e) {
            throw ForkdException.of("list " + tmp, e);
        }
    }

    /** What any process that we may look into has open. */
    private static Set<Path> openFiles() {
        Set<Path> open = new HashSet<>();
        ProcessHandle.allProcesses().forEach(process -> {
            try (var descriptors = Files.newDirectoryStream(Path.of("/proc", process.pid() + "", "fd"))) {
                for (Path descriptor : descriptors) {
                    open.add(Files.readSymbolicLink(descriptor));
                }
            } catch (IOException e) {
                // It ended, or is not ours to look into.
            }
        });
        return open;
    }
}
