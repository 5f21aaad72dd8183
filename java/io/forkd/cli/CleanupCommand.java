package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.files.Trees;
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
        description = "Finds what commands that died have left behind: run folders, half-made snapshots and kept work"
                + " folders in /tmp. Lists them; --yes deletes them.",
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
        List<Path> found = new ArrayList<>(shell.engine().runtime().leftovers());
        found.addAll(shell.engine().store().leftovers());
        Set<Path> used = new HashSet<>();
        Path tmp = Path.of(System.getProperty("java.io.tmpdir"));
        List<Path> kept = named(tmp);
        if (!kept.isEmpty()) {
            used.addAll(openFiles());
        }
        for (Path entry : kept) {
            if (used.stream().anyMatch(file -> file.startsWith(entry))) {
                shell.print("skipped (in use)  " + entry);
            } else {
                found.add(entry);
            }
        }
        long total = 0;
        for (Path entry : found) {
            total += handle(entry);
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

    private long handle(Path entry) {
        try {
            long size = Trees.size(entry);
            if (yes) {
                Trees.delete(entry);
            }
            shell.print((yes ? "deleted  " : "found    ") + Format.size(size) + "  " + entry);
            return size;
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
