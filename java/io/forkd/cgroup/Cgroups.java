package io.forkd.cgroup;

import io.forkd.ForkdException;
import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/**
 * Makes a cgroup for each VM that has a limit which the kernel is to keep, {@code <top>/forkd/<name>}; where the user is not
 * root, below the nearest group that was delegated to him. No group is made for nothing, and a limit that cannot be kept is
 * an error that says what is missing.
 *
 * <p>A name is that of the folder whose VM it is, after which there may be a {@code +} and something more: so {@link #sweep}
 * tells which of them nobody needs any more.
 */
public final class Cgroups {
    private static final String MORE = "+";

    /** What the monitor has beside its guest's memory, and the kernel for both: page tables take 1/256. */
    private static final long ROOM = 32L << 20;

    private static final int ROOM_SHIFT = 6;

    private static final long PERIOD = 100_000;

    /** For what would be less than the least that the kernel takes. */
    private static final long LONG_PERIOD = 1_000_000;

    private static final long LEAST_SHARE = 1_000;

    /** While what is killed is not quite gone. */
    private static final int LOOKS = 500;

    private static final int LOOK_AGAIN_MS = 2;

    /** How long what a group was made for may take until it is there. */
    private static final Duration TO_BEGIN = Duration.ofMinutes(1);

    private final Tree tree;
    private final String folder;
    private final List<Path> disks;

    /**
     * @param folder what the group of all groups is called: of each runtime folder another
     * @param disks folders whose devices I/O is limited on
     */
    public Cgroups(String folder, List<Path> disks) {
        this(Path.of("/proc"), folder, disks);
    }

    Cgroups(Path proc, String folder, List<Path> disks) {
        this.tree = new Tree(proc);
        this.folder = folder;
        this.disks = List.copyOf(disks);
    }

    /** What the groups of VMs with the same limits are made by. */
    public final class Maker {
        private final Set<Controller> controllers;
        private final String asked;
        private final List<Setting> settings;
        private Path ours;

        private Maker(Set<Controller> controllers, String asked, List<Setting> settings) {
            this.controllers = controllers;
            this.asked = asked;
            this.settings = settings;
            this.ours = prepare(controllers, asked);
        }

        /** Makes one. */
        public Path make(String name) {
            Path group = create(name);
            try {
                for (Setting setting : settings) {
                    if (!Tree.writeIfThere(group.resolve(setting.file()), setting.value()) && !setting.optional()) {
                        throw new NoSuchFileException(setting.file());
                    }
                }
                return group;
            } catch (IOException e) {
                remove(group);
                throw ForkdException.of("put " + asked + " in place in " + group, e);
            }
        }

        private Path create(String name) {
            try {
                try {
                    return Files.createDirectory(ours.resolve(name));
                } catch (NoSuchFileException e) {
                    ours = prepare(controllers, asked); // The last of others' has taken it along.
                } catch (FileAlreadyExistsException e) {
                    remove(ours.resolve(name)); // Who has the folder of that name has ended what was there before.
                }
                return Files.createDirectory(ours.resolve(name));
            } catch (IOException e) {
                throw ForkdException.of("make the cgroup " + ours.resolve(name), e);
            }
        }
    }

    /** @param optional whether kernels may be without it */
    private record Setting(String file, String value, boolean optional) {
        Setting(String file, String value) {
            this(file, value, false);
        }
    }

    /** Empty when nothing is limited that needs a group; an error when it cannot be. */
    public Optional<Maker> maker(Limits limits) {
        Set<Controller> needed = Controller.of(limits);
        return needed.isEmpty()
                ? Optional.empty()
                : Optional.of(new Maker(
                        needed,
                        needed.stream().map(each -> each.asked(limits)).collect(Collectors.joining(", ")),
                        settings(limits)));
    }

    /** One with groups that have no controllers. */
    Maker plainMaker() {
        return new Maker(EnumSet.noneOf(Controller.class), "nothing", List.of());
    }

    /** The name of the group of something that a folder has several of. */
    public static String name(String owner, String which) {
        return owner + MORE + which;
    }

    private List<Setting> settings(Limits limits) {
        List<Setting> settings = new ArrayList<>();
        memory(limits, 1).ifPresent(bytes -> {
            settings.add(new Setting("memory.max", bytes));
            settings.add(new Setting("memory.swap.max", "0", true));
            // A VM without one of its threads is none.
            settings.add(new Setting("memory.oom.group", "1"));
        });
        bound(limits, Limit.CPUS).ifPresent(thousandths -> {
            long share = thousandths * PERIOD / 1_000;
            settings.add(new Setting(
                    "cpu.max",
                    share >= LEAST_SHARE
                            ? share + " " + PERIOD
                            : thousandths * LONG_PERIOD / 1_000 + " " + LONG_PERIOD));
        });
        bound(limits, Limit.PROCESSES).ifPresent(count -> settings.add(new Setting("pids.max", Long.toString(count))));
        String rates = bound(limits, Limit.IO_BYTES)
                        .map(rate -> " rbps=" + rate + " wbps=" + rate)
                        .orElse("")
                + bound(limits, Limit.IO_REQUESTS)
                        .map(rate -> " riops=" + rate + " wiops=" + rate)
                        .orElse("");
        if (!rates.isEmpty()) {
            Devices.of(disks, Controller.IO.asked(limits))
                    .forEach(device -> settings.add(new Setting("io.max", device + rates)));
        }
        return settings;
    }

    private static Optional<Long> bound(Limits limits, Limit limit) {
        return limits.bounds(limit) ? Optional.of(limits.get(limit).getAsLong()) : Optional.empty();
    }

    /** @param copies how many times the guest's memory may be there */
    private static Optional<String> memory(Limits limits, int copies) {
        return bound(limits, Limit.MEMORY).map(mib -> {
            // In whole pages, as it is read again.
            long bytes = (mib << 20) + (mib << (20 - ROOM_SHIFT)) + ROOM;
            return bytes > Long.MAX_VALUE / copies ? "max" : Long.toString(bytes * copies);
        });
    }

    /**
     * Has a group that was made with these limits take memory for its VM, and as much for each group beside it that has its
     * name after its {@link #MORE}: a branch, of which the memory that it has as it was counts as the VM's.
     */
    public static void allowBranches(Path group, Limits limits) {
        try {
            Optional<String> bytes = memory(limits, 1 + countBranches(group));
            if (bytes.isPresent()) {
                Tree.write(group.resolve("memory.max"), bytes.get());
            }
        } catch (NoSuchFileException e) {
            // It has ended.
        } catch (IOException e) {
            throw ForkdException.of("change the memory of " + group, e);
        }
    }

    /** The same, where some of them may have ended; of most VMs there are none. */
    public static void settleBranches(Path group, Limits limits) {
        try {
            Optional<String> alone = memory(limits, 1);
            if (alone.isPresent()
                    && !Files.readString(group.resolve("memory.max")).strip().equals(alone.get())) {
                allowBranches(group, limits);
            }
        } catch (IOException | ForkdException e) {
            // It has ended, or the next sweep has another chance.
        }
    }

    private Path prepare(Set<Controller> controllers, String asked) {
        Path parent = tree.parent(controllers, asked);
        Path ours = parent.resolve(folder);
        Tree.enable(parent, controllers);
        try {
            if (!Files.isDirectory(ours)) {
                Files.createDirectories(ours);
            }
        } catch (IOException e) {
            throw ForkdException.of("make the cgroup " + ours, e);
        }
        Tree.enable(ours, controllers);
        return ours;
    }

    /** Whether a process may have children in the groups that are made by this one. */
    public boolean reaches(int pid) {
        Optional<Tree.Mount> mount = tree.mount();
        Optional<Path> there =
                mount.flatMap(all -> tree.groupOf(Integer.toString(pid)).map(all::resolve));
        return there.isPresent() && tree.ours(mount.get()).stream().anyMatch(there.get()::startsWith);
    }

    /** Removes those of folders that are no more, with what lives there. */
    public void sweep(Predicate<String> isThere) {
        for (Path ours : existing()) {
            try {
                for (Path group : groups(ours)) {
                    if (!isThere.test(owner(group))) {
                        remove(group);
                    }
                }
                Files.deleteIfExists(ours);
            } catch (IOException e) {
                // Something is to live there; the next sweep has another chance.
            }
        }
    }

    private static List<Path> groups(Path ours) throws IOException {
        return Trees.list(ours).stream().filter(Files::isDirectory).toList();
    }

    private static String owner(Path group) {
        String name = String.valueOf(group.getFileName());
        int more = name.indexOf(MORE);
        return more < 0 ? name : name.substring(0, more);
    }

    private static int countBranches(Path group) throws IOException {
        String end = MORE + group.getFileName();
        int count = 0;
        for (Path each : groups(group.resolveSibling(""))) {
            if (String.valueOf(each.getFileName()).endsWith(end) && isAlive(each)) {
                count++;
            }
        }
        return count;
    }

    /** Something lives there, or is just about to. */
    private static boolean isAlive(Path group) throws IOException {
        try {
            return Files.readString(group.resolve("cgroup.events")).contains("populated 1")
                    || Files.getLastModifiedTime(group)
                            .toInstant()
                            .isAfter(Instant.now().minus(TO_BEGIN));
        } catch (NoSuchFileException e) {
            return false;
        }
    }

    private List<Path> existing() {
        Optional<Tree.Mount> mount = tree.mount();
        return mount.isEmpty()
                ? List.of()
                : tree.ours(mount.get()).stream()
                        .map(parent -> parent.resolve(folder))
                        .filter(Files::isDirectory)
                        .toList();
    }

    /** What all of them take together, those that are gone included. */
    public Optional<Usage> total() {
        return existing().stream().findFirst().flatMap(Usage::of);
    }

    /** Ends what is left in one, of which the VM has ended: its process, taken over, may have made others. */
    public static void remove(Path group) {
        try {
            Tree.writeIfThere(group.resolve("cgroup.kill"), "1");
        } catch (IOException e) {
            // It has been removed.
        }
        for (int look = 0; look < LOOKS; look++) {
            try {
                Files.deleteIfExists(group);
                return;
            } catch (IOException e) {
                try {
                    Thread.sleep(LOOK_AGAIN_MS);
                } catch (InterruptedException interrupted) {
                    Thread.currentThread().interrupt();
                    return; // The next sweep has another chance.
                }
            }
        }
    }

    /**
     * What there is to use.
     *
     * @param obstacle to the first of those that are not
     */
    public record Status(List<Controller> usable, List<Controller> missing, Optional<ForkdException> obstacle) {}

    public Status status() {
        List<Controller> usable = new ArrayList<>();
        List<Controller> missing = new ArrayList<>();
        List<ForkdException> obstacles = new ArrayList<>();
        for (Controller controller : Arrays.asList(Controller.values())) {
            try {
                tree.parent(EnumSet.of(controller), "a limit of " + controller.word());
                usable.add(controller);
            } catch (ForkdException e) {
                missing.add(controller);
                obstacles.add(e);
            }
        }
        return new Status(usable, missing, obstacles.stream().findFirst());
    }
}
