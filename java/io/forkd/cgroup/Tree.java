package io.forkd.cgroup;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** The host's tree of cgroups, as this process sees it, and where in it groups may be made. */
final class Tree {
    /** Where the processes of a group go that is to have groups: it may not have both. */
    private static final String LEAF = "forkd-processes";

    /** Others may start processes meanwhile. */
    private static final int ROUNDS = 20;

    private static final String PROCS = "cgroup.procs";
    private static final String CONTROL = "cgroup.subtree_control";
    private static final Pattern ESCAPE = Pattern.compile("\\\\([0-7]{3})");

    private final Path proc;

    /** @param proc {@code /proc} */
    Tree(Path proc) {
        this.proc = proc;
    }

    /**
     * The top of it that is to be seen.
     *
     * @param root which part of the tree that is
     */
    record Mount(Path point, String root) {
        /** Of a line of mountinfo; empty when that is another file system's. */
        static Optional<Mount> of(String line) {
            String[] fields = line.split(" ");
            int end = Arrays.asList(fields).indexOf("-");
            return end > 5 && fields.length > end + 1 && fields[end + 1].equals("cgroup2")
                    ? Optional.of(new Mount(Path.of(unescaped(fields[4])), unescaped(fields[3])))
                    : Optional.empty();
        }

        private static String unescaped(String text) {
            return ESCAPE.matcher(text)
                    .replaceAll(match ->
                            Matcher.quoteReplacement(String.valueOf((char) Integer.parseInt(match.group(1), 8))));
        }

        /** Where a group is found; the top when it is out of sight. */
        Path resolve(String group) {
            String above = root.equals("/") ? "" : root;
            return group.equals(above) || group.startsWith(above + "/")
                    ? point.resolve(group.substring(above.length()).replaceFirst("^/+", ""))
                    : point;
        }
    }

    Optional<Mount> mount() {
        try (Stream<String> lines = Files.lines(proc.resolve("self/mountinfo"))) {
            return lines.flatMap(line -> Mount.of(line).stream()).findFirst();
        } catch (IOException e) {
            throw ForkdException.of("read " + proc + "/self/mountinfo", e);
        }
    }

    /** The group that a process is in, from the top; empty when it has ended. */
    Optional<String> groupOf(String process) {
        try (Stream<String> lines = Files.lines(proc.resolve(process).resolve("cgroup"))) {
            return lines.filter(line -> line.startsWith("0::"))
                    .map(line -> line.substring(3))
                    .findFirst();
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    /**
     * Those that were delegated to this user, from our own upwards; of who may do everything, the top. What is in the
     * others is not ours, whatever it is called.
     */
    List<Path> ours(Mount mount) {
        if (isOurs(mount.point())) {
            return List.of(mount.point());
        }
        List<Path> found = new ArrayList<>();
        Path group = mount.resolve(groupOf("self").orElse("/"));
        if (group.endsWith(LEAF)) {
            group = group.resolveSibling("");
        }
        for (Path at = group.normalize(); at != null && at.startsWith(mount.point()); at = at.getParent()) {
            if (isOurs(at)) {
                found.add(at);
            }
        }
        return found;
    }

    /** Whether it was delegated to this user. */
    private static boolean isOurs(Path group) {
        return Files.isWritable(group)
                && Files.isWritable(group.resolve(PROCS))
                && Files.isWritable(group.resolve(CONTROL));
    }

    /**
     * The nearest group in which this user may make some that have these controllers.
     *
     * @param asked what they are for
     */
    Path parent(Set<Controller> needed, String asked) {
        Mount mount = mount().orElseThrow(() -> new ForkdException(
                Kind.FAILED,
                asked + " cannot be put in place: no cgroup file system of version 2 is mounted",
                "Boot with systemd.unified_cgroup_hierarchy=1, or mount it"
                        + " (sudo mount -t cgroup2 none /sys/fs/cgroup)."));
        List<Path> ours = ours(mount);
        if (ours.isEmpty()) {
            throw new ForkdException(
                    Kind.FAILED,
                    asked + " cannot be put in place: of the cgroups in " + mount.point() + " none from "
                            + groupOf("self").orElse("/") + " upwards may be written to by this user",
                    "Run it where systemd has delegated one: systemd-run --user --scope -p Delegate=yes COMMAND."
                            + " Without systemd, root gives you one, with your shell in it: chown -R $USER its folder.");
        }
        for (Path group : ours) {
            if (controllers(group.resolve("cgroup.controllers")).containsAll(needed)) {
                return group;
            }
        }
        Set<Controller> missing = EnumSet.copyOf(needed);
        missing.removeAll(controllers(ours.get(0).resolve("cgroup.controllers")));
        throw new ForkdException(
                Kind.FAILED,
                asked + " cannot be put in place: the cgroup " + ours.get(0) + " has no controller "
                        + Controller.words(missing.isEmpty() ? needed : missing),
                ours.get(0).equals(mount.point())
                        ? "A controller that cgroups of version 1 have is not there: boot with"
                                + " systemd.unified_cgroup_hierarchy=1, or with cgroup_no_v1=all."
                        : "Have it delegated, too: sudo systemctl edit user@.service, with [Service] and"
                                + " Delegate=cpu io memory pids; then log in again.");
    }

    private static Set<Controller> controllers(Path file) {
        try {
            List<String> words = List.of(Files.readString(file).strip().split(" "));
            return Arrays.stream(Controller.values())
                    .filter(each -> words.contains(each.word()))
                    .collect(Collectors.toCollection(() -> EnumSet.noneOf(Controller.class)));
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
    }

    /** Lets groups in that group have these controllers. */
    static void enable(Path group, Set<Controller> needed) {
        Path control = group.resolve(CONTROL);
        if (controllers(control).containsAll(needed)) {
            return;
        }
        String wanted = needed.stream().map(each -> "+" + each.word()).collect(Collectors.joining(" "));
        try {
            try {
                write(control, wanted);
            } catch (IOException e) {
                // It has processes, then. The host's own top may, and is the one without this file.
                if (!Files.exists(group.resolve("cgroup.events"))) {
                    throw e;
                }
                vacate(group);
                write(control, wanted);
            }
        } catch (IOException e) {
            throw ForkdException.of("let cgroups in " + group + " have " + Controller.words(needed), e);
        }
    }

    private static void vacate(Path group) throws IOException {
        Path leaf = group.resolve(LEAF);
        for (int i = 0; i < ROUNDS; i++) {
            List<String> processes = Files.readAllLines(group.resolve(PROCS));
            if (processes.isEmpty()) {
                return;
            }
            if (!Files.isDirectory(leaf)) {
                Files.createDirectory(leaf);
            }
            for (String process : processes) {
                try {
                    write(leaf.resolve(PROCS), process);
                } catch (IOException e) {
                    // It has ended, or is found again.
                }
            }
        }
    }

    /** What is not there is not made: only the kernel has files here. */
    static void write(Path file, String text) throws IOException {
        Files.writeString(file, text, StandardOpenOption.WRITE);
    }

    /** Whether there is such a file, which depends on how the kernel was built. */
    static boolean writeIfThere(Path file, String text) throws IOException {
        try {
            write(file, text);
            return true;
        } catch (NoSuchFileException e) {
            return false;
        }
    }
}
