package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Leftover;
import io.forkd.files.Trees;
import io.forkd.hub.Pull;
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
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "cleanup",
        description = "Finds what has been left behind: folders of commands, sandboxes and servers that died, half-made"
                + " snapshots, replaced ones that get their name back, branches that failed, kept work folders in /tmp, and sandboxes that run though what tells"
                + " of them is damaged. Lists them; --yes ends, deletes or puts them back, as far as they are your own. Exit status"
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

    @Option(names = "--json", description = "Print what became of each as a JSON array.")
    boolean json;

    CleanupCommand(Shell shell) {
        this.shell = shell;
    }

    /** Unless another snapshot has got its name since it was found. */
    private void removeFailed(SnapshotTag tag) {
        if (!shell.engine().snapshots().failed().contains(tag)) {
            return;
        }
        for (ForkdException refusal : shell.engine()
                .snapshots()
                .planRemoval(Set.of(tag), false, false)
                .refused()
                .values()) {
            throw refusal;
        }
        shell.engine().snapshots().remove(tag, false);
    }

    /** What became of one of them. */
    private enum Outcome {
        FOUND("found    "),
        DELETED("deleted  "),
        PUT_BACK("put back  "),
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
        found.addAll(Pull.leftovers(shell.engine()));
        for (SnapshotTag tag : shell.engine().snapshots().failed()) {
            found.add(Leftover.removed(
                    shell.engine().store().directory(tag), "a branch that failed", () -> removeFailed(tag)));
        }
        List<Path> kept = named(Path.of(System.getProperty("java.io.tmpdir")));
        Set<Path> open = kept.isEmpty() ? Set.of() : openFiles();
        kept.forEach(entry -> found.add(Leftover.removed(entry, "", () -> Trees.delete(entry))));
        Map<Outcome, Integer> count = new EnumMap<>(Outcome.class);
        ArrayNode all = JsonNodeFactory.instance.arrayNode();
        long total = 0;
        for (Leftover leftover : found) {
            long size = size(leftover.path());
            ObjectNode node = all.addObject().put("path", leftover.path().toString());
            Outcome outcome = kept.contains(leftover.path()) && isUsed(leftover.path(), open)
                    ? Outcome.IN_USE
                    : outcome(leftover, node);
            count.merge(outcome, 1, Integer::sum);
            total += outcome == Outcome.FOUND || outcome == Outcome.DELETED ? size : 0;
            node.put("what", leftover.what())
                    .put("bytes", size)
                    .put("outcome", outcome.name().toLowerCase(Locale.ROOT));
            if (!json) {
                shell.print(outcome.text + Format.size(size) + "  " + leftover.path()
                        + (leftover.what().isEmpty() ? "" : "  (" + leftover.what() + ")")
                        + (node.has("to") ? " as " + node.path("to").asString() : ""));
            }
        }
        if (yes) {
            shell.engine().sweep();
        }
        if (json) {
            shell.print(all.toPrettyString());
        } else {
            summarize(count, total);
        }
        return count.containsKey(Outcome.FAILED) ? Kind.FAILED.exitStatus() : 0;
    }

    private void summarize(Map<Outcome, Integer> count, long total) {
        int done = count.getOrDefault(yes ? Outcome.DELETED : Outcome.FOUND, 0);
        int back = count.getOrDefault(Outcome.PUT_BACK, 0);
        if (done > 0) {
            shell.print(done + (yes ? " deleted, " : " found, ") + Format.size(total));
        }
        if (back > 0) {
            shell.print(back + " put back");
        }
        if (done + back == 0) {
            shell.print("nothing to clean up");
        } else if (!yes) {
            shell.note("Nothing was deleted; forkd cleanup --yes does it.");
        }
    }

    /** Only what is this user's own is touched, root's too: in /tmp anybody may give a folder our name. */
    private Outcome outcome(Leftover leftover, ObjectNode node) {
        try {
            if (!Trees.isOurs(leftover.path())) {
                return Outcome.ANOTHERS;
            }
            if (!yes) {
                return Outcome.FOUND;
            }
            Optional<Path> back = leftover.setRight();
            if (back.isPresent()) {
                node.put("to", back.get().toString());
                return Outcome.PUT_BACK;
            }
            return Files.exists(leftover.path(), LinkOption.NOFOLLOW_LINKS) ? Outcome.IN_USE : Outcome.DELETED;
        } catch (IOException e) {
            return failed(ForkdException.of("look at " + leftover.path(), e), node);
        } catch (ForkdException e) {
            return failed(e, node);
        }
    }

    private Outcome failed(ForkdException e, ObjectNode node) {
        node.set("error", Shell.error(e));
        if (!json) {
            shell.fail(e, false);
        }
        return Outcome.FAILED;
    }

    private static boolean isUsed(Path entry, Set<Path> open) {
        return open.stream().anyMatch(file -> file.startsWith(entry));
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
