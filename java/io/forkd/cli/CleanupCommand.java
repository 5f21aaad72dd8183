package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Leftover;
import io.forkd.files.Trees;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
        name = "cleanup",
        description = "Finds what has been left behind: folders of commands, sandboxes and servers that died, half-made"
                + " snapshots, branches that failed, kept work folders in /tmp, and sandboxes that run though what tells"
                + " of them is damaged. Lists them; --yes ends and deletes them, as far as they are your own. Exit status"
                + " 1 when one could not be deleted.",
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

    /** Unless another snapshot has got its name since it was found. */
    private void removeFailed(SnapshotTag tag) {
        if (shell.engine().snapshots().failed().contains(tag)) {
            shell.engine().snapshots().remove(tag, false, false, removed -> {});
        }
    }

    /** What became of one of them. */
    private enum Outcome {
        FOUND("found    "),
        DELETED("deleted  "),
        IN_USE("skipped (in use)  "),
        ANOTHERS("skipped (another user's)  "),
        FAILED("failed   ");

        private final String text;

        Outcome(String text) {
            this.text = text;
        }
    }

    @Override
    public Integer call() {
        List<Leftover> found = new ArrayList<>(shell.engine().leftovers());
        for (SnapshotTag tag : shell.engine().snapshots().failed()) {
            found.add(new Leftover(
                    shell.engine().store().directory(tag), "a branch that failed", () -> removeFailed(tag)));
        }
        found.addAll(keptWork());
        Map<Outcome, Integer> count = new EnumMap<>(Outcome.class);
        long total = 0;
        for (Leftover leftover : found) {
            long size = size(leftover.path());
            Outcome outcome = outcome(leftover);
            count.merge(outcome, 1, Integer::sum);
            total += outcome == Outcome.FOUND || outcome == Outcome.DELETED ? size : 0;
            shell.print(outcome.text + Format.size(size) + "  " + leftover.path()
                    + (leftover.what().isEmpty() ? "" : "  (" + leftover.what() + ")"));
        }
        if (yes) {
            shell.engine().sweep();
        }
        int done = count.getOrDefault(yes ? Outcome.DELETED : Outcome.FOUND, 0);
        if (done == 0) {
            shell.print("nothing to clean up");
        } else {
            shell.print(done + (yes ? " deleted, " : " found, ") + Format.size(total));
            if (!yes) {
                shell.note("Nothing was deleted; forkd cleanup --yes does it.");
            }
        }
        return count.containsKey(Outcome.FAILED) ? Kind.FAILED.exitStatus() : 0;
    }

    /** Only what is this user's own is touched, root's too: in /tmp anybody may give a folder our name. */
    private Outcome outcome(Leftover leftover) {
        try {
            if (!Trees.isOurs(leftover.path())) {
                return Outcome.ANOTHERS;
            }
            if (!yes) {
                return Outcome.FOUND;
            }
            leftover.remove();
            return Files.exists(leftover.path(), LinkOption.NOFOLLOW_LINKS) ? Outcome.IN_USE : Outcome.DELETED;
        } catch (IOException e) {
            shell.note("Error: cannot look at " + leftover.path() + ": " + ForkdException.reason(e));
        } catch (ForkdException e) {
            shell.note("Error: " + e.sentence());
        }
        return Outcome.FAILED;
    }

    /** Work folders that were kept, unless something has files of them open. */
    private List<Leftover> keptWork() {
        List<Path> found = named(Path.of(System.getProperty("java.io.tmpdir")));
        Set<Path> used = found.isEmpty() ? Set.of() : openFiles();
        List<Leftover> unused = new ArrayList<>();
        for (Path entry : found) {
            if (used.stream().anyMatch(file -> file.startsWith(entry))) {
                shell.print(Outcome.IN_USE.text + entry);
            } else {
                unused.add(new Leftover(entry, "", () -> Trees.delete(entry)));
            }
        }
        return unused;
    }

    private static long size(Path entry) {
        try {
            return Trees.size(entry);
        } catch (IOException e) {
            return 0; // It is gone, or another user's, or the deletion says why.
        }
    }

    private static List<Path> named(Path tmp) {
        try {
            return Trees.list(tmp).stream()
                    .filter(entry -> PREFIXES.stream()
                            .anyMatch(prefix -> entry.getFileName().toString().startsWith(prefix)))
                    .filter(entry -> Files.isDirectory(entry, LinkOption.NOFOLLOW_LINKS))
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
            } catch (IOException | DirectoryIteratorException e) {
                // It ended, or is not ours to look into.
            }
        });
        return open;
    }
}
