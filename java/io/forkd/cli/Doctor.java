package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.cgroup.Cgroups;
import io.forkd.cgroup.Controller;
import io.forkd.kernel.GuestKernel;
import io.forkd.network.Networks;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Looks at what forkd needs of this machine and this user. It changes nothing, and needs no rights of its own. */
final class Doctor {
    static final String VIRTUALISATION = "hw virt";

    private static final String SYSTEM_CALLS = "system calls";

    private static final long GIB = 1L << 30;
    private static final Path SCRATCH = Path.of("/var/tmp");
    private static final Path DEVICES = Path.of("/sys/class/net");
    private static final String TAP = "forkd-tap0";

    /** How a check went. */
    enum Status {
        PASS,
        /** Something that is only wanted for a part of what forkd does, or will be before long. */
        WARN,
        /** Nothing goes without it. */
        FAIL,
        /** It is not needed as things are. */
        SKIP;

        String word() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** @param remedy what to do about it; may be empty */
    record Check(String name, Status status, String detail, String remedy) {}

    private final Shell shell;
    private final RemoteOptions remote;

    Doctor(Shell shell, RemoteOptions remote) {
        this.shell = shell;
        this.remote = remote;
    }

    List<Check> all() {
        List<Check> checks = new ArrayList<>(needed());
        checks.addAll(confinement());
        checks.addAll(List.of(
                kernel(),
                kernelPackages(),
                snapshotSpace(),
                scratchSpace(),
                cgroups(),
                tap(),
                forwarding(),
                networks(),
                names(),
                lazyStart(),
                daemon()));
        return checks;
    }

    /** Without which no guest runs. */
    List<Check> needed() {
        return List.of(platform(), virtualisation(), kvm(), monitor(), snapshots(), runtime());
    }

    private static Check pass(String name, String detail) {
        return new Check(name, Status.PASS, detail, "");
    }

    private static Check fail(String name, ForkdException e) {
        return failed(name, Status.FAIL, e);
    }

    private static Check failed(String name, Status status, ForkdException e) {
        return new Check(name, status, Remedies.sentence(e), Remedies.remedy(e));
    }

    private static Check platform() {
        String system = System.getProperty("os.name") + " " + System.getProperty("os.version") + " on "
                + System.getProperty("os.arch");
        boolean right = system.startsWith("Linux ") && system.endsWith(" amd64");
        return new Check(
                "platform", right ? Status.PASS : Status.FAIL, system, right ? "" : "forkd runs on Linux on x86-64.");
    }

    private static Check virtualisation() {
        String name = VIRTUALISATION;
        try (Stream<String> lines = Files.lines(Path.of("/proc/cpuinfo"))) {
            List<String> flags = lines.filter(line -> line.startsWith("flags"))
                    .limit(1)
                    .flatMap(line -> Stream.of(line.split(" ")))
                    .filter(flag -> flag.equals("vmx") || flag.equals("svm"))
                    .toList();
            return flags.isEmpty()
                    ? new Check(
                            name,
                            Status.FAIL,
                            "the processor has neither vmx nor svm: no stock Linux kernel runs in a guest",
                            "Turn virtualisation on in the firmware, or nested virtualisation where this machine is"
                                    + " itself virtual. In a checkout, tests/lab emulates a machine that has it.")
                    : pass(name, flags.get(0));
        } catch (IOException e) {
            return fail(name, ForkdException.of("read /proc/cpuinfo", e));
        }
    }

    private static Check kvm() {
        String device = "/dev/kvm";
        try (RandomAccessFile opened = new RandomAccessFile(device, "rw")) {
            return pass("kvm", device + " opens" + (opened.getFD().valid() ? "" : " not"));
        } catch (IOException e) {
            boolean there = Files.exists(Path.of(device));
            return new Check(
                    "kvm",
                    Status.FAIL,
                    there ? device + " cannot be opened for reading and writing" : "there is no " + device,
                    there
                            ? "sudo usermod -aG kvm $USER, and log in again."
                            : "sudo modprobe kvm_intel, or kvm_amd; in a container, pass the device on.");
        }
    }

    private static Check lazyStart() {
        String name = "lazy start";
        Path device = Path.of("/dev/fuse");
        if (Files.isReadable(device) && Files.isWritable(device)) {
            return pass(name, "pulled snapshots can be forked before they are all here");
        }
        return new Check(
                name,
                Status.WARN,
                Files.exists(device) ? device + " cannot be opened for reading and writing" : "there is no " + device,
                Files.exists(device)
                        ? "sudo chmod 666 /dev/fuse, as most distributions have it: only pull --lazy needs it."
                        : "sudo modprobe fuse; in a container, pass the device on: only pull --lazy needs it.");
    }

    private Check monitor() {
        String name = "monitor";
        try {
            Path program = shell.engine().mkfsBinary();
            return Files.isExecutable(program)
                    ? pass(name, "unpacked in " + program.getParent())
                    : new Check(
                            name,
                            Status.FAIL,
                            program.getParent() + " may not have programs: it is mounted noexec",
                            "Set XDG_CACHE_HOME to a folder that may.");
        } catch (ForkdException e) {
            return fail(name, e);
        }
    }

    /** What forkd-vmm says of itself on this host: a line for each layer. */
    private List<Check> confinement() {
        try {
            Path program = shell.engine().mkfsBinary().resolveSibling("forkd-vmm");
            Process process = new ProcessBuilder(program.toString(), "--confinement")
                    .redirectErrorStream(true)
                    .start();
            List<String> lines = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8)
                    .lines()
                    .toList();
            return lines.stream().map(Doctor::layer).toList();
        } catch (IOException e) {
            return List.of(fail(SYSTEM_CALLS, ForkdException.of("start forkd-vmm", e)));
        } catch (ForkdException e) {
            return List.of(fail(SYSTEM_CALLS, e));
        }
    }

    private static Check layer(String line) {
        String[] parts = line.split(": ", 3); // the name, whether it is in force, and why not
        String name = parts[0];
        if (parts.length == 2 && parts[1].equals("in force")) {
            return pass(name, "confines every VM on this host");
        }
        String why = parts.length == 3 ? parts[2] : line;
        return switch (name) {
            case SYSTEM_CALLS ->
                new Check(name, Status.FAIL, why, "No guest runs without: take a kernel with seccomp filters.");
            case "own user" -> new Check(name, Status.SKIP, why, "");
            case "landlock" ->
                new Check(
                        name,
                        Status.WARN,
                        why,
                        "Take Linux 5.13 or later, with landlock among lsm= on its command line.");
            default ->
                new Check(
                        name,
                        Status.WARN,
                        why,
                        "Allow user namespaces: sudo sysctl user.max_user_namespaces=10000, on Ubuntu also"
                                + " kernel.apparmor_restrict_unprivileged_userns=0; in a container, unshare(2) and"
                                + " mount(2).");
        };
    }

    private Check snapshots() {
        String name = "snapshot folder";
        Path root = shell.engine().store().root();
        try {
            if (!Files.isDirectory(root)) {
                Path parent = existing(root);
                return Files.isDirectory(parent) && Files.isWritable(parent)
                        ? pass(name, root + " will be made when it is needed")
                        : new Check(
                                name,
                                Status.FAIL,
                                root + " cannot be made: " + parent + " cannot be written to",
                                "Set XDG_DATA_HOME to a folder of yours.");
            }
            if (!Files.isWritable(root)) {
                return new Check(
                        name, Status.FAIL, root + " cannot be written to", "Set XDG_DATA_HOME to a folder of yours.");
            }
            int count = shell.engine().store().list().size();
            return pass(name, root + ", " + count + (count == 1 ? " snapshot" : " snapshots"));
        } catch (ForkdException e) {
            return fail(name, e);
        }
    }

    /** Itself, or what it would be made in. */
    private static Path existing(Path path) {
        Path found = path;
        while (!Files.exists(found) && found.getParent() != null) {
            found = found.getParent();
        }
        return found;
    }

    private Check runtime() {
        String name = "runtime folder";
        try {
            Path root = shell.engine().runtime().made();
            int sandboxes = shell.engine().sandboxes().list().size();
            String detail = root + ", " + sandboxes + (sandboxes == 1 ? " sandbox" : " sandboxes");
            return shell.engine().runtime().endsWithSession()
                    ? new Check(
                            name,
                            Status.WARN,
                            detail + "; it is removed when you have logged out, though sandboxes go on",
                            "loginctl enable-linger keeps it.")
                    : pass(name, detail);
        } catch (ForkdException e) {
            return fail(name, e);
        }
    }

    private Check kernel() {
        Optional<Path> named = Optional.ofNullable(shell.environment().get("FORKD_KERNEL"))
                .filter(value -> !value.isEmpty())
                .map(Path::of);
        try {
            GuestKernel kernel =
                    GuestKernel.find(named, Optional.empty(), shell.engine().dataDirectory());
            return pass(
                    "guest kernel",
                    kernel.vmlinux()
                            + kernel.initrd().map(initrd -> ", " + initrd).orElse(", without an initrd"));
        } catch (ForkdException e) {
            return new Check("guest kernel", Status.WARN, e.sentence(), "forkd kernel install");
        }
    }

    private Check kernelPackages() {
        String path = Optional.ofNullable(shell.environment().get("PATH"))
                .or(() -> Optional.ofNullable(System.getenv("PATH")))
                .orElse("/usr/bin");
        boolean apt = Stream.of(path.split(":")).anyMatch(folder -> Files.isExecutable(Path.of(folder, "apt-get")));
        return apt
                ? pass("apt-get", "forkd kernel install has where to get a kernel from")
                : new Check(
                        "apt-get",
                        kernel().status() == Status.PASS ? Status.SKIP : Status.WARN,
                        "there is none, which forkd kernel install gets a kernel by",
                        "Give it the package of a kernel: forkd kernel install --deb FILE.");
    }

    private Check snapshotSpace() {
        return space(
                "snapshot space",
                existing(shell.engine().store().root()),
                Status.FAIL,
                "A snapshot of 512 MiB takes as much.");
    }

    private static Check scratchSpace() {
        return Files.isWritable(SCRATCH)
                ? space(
                        "scratch space",
                        SCRATCH,
                        Status.WARN,
                        "What guests write to their disks is kept there while they live.")
                : new Check(
                        "scratch space",
                        Status.FAIL,
                        SCRATCH + " cannot be written to, where what guests write to their disks is kept",
                        "sudo chmod 1777 " + SCRATCH);
    }

    /** @param least what less than 1 GiB is */
    private static Check space(String name, Path directory, Status least, String what) {
        try {
            long free = Files.getFileStore(directory).getUsableSpace();
            Status status = free >= 5 * GIB ? Status.PASS : free >= GIB ? Status.WARN : least;
            return new Check(
                    name,
                    status,
                    Format.size(free) + " free in " + directory,
                    status == Status.PASS ? "" : what + " Make room: forkd images and forkd rmi, forkd cache prune.");
        } catch (IOException e) {
            return fail(name, ForkdException.of("look at " + directory, e));
        }
    }

    private Check cgroups() {
        String name = "cgroup v2";
        try {
            Cgroups.Status status = shell.engine().cgroups().status();
            Function<List<Controller>, String> words =
                    some -> some.stream().map(Controller::word).collect(Collectors.joining(", "));
            if (status.obstacle().isEmpty()) {
                return pass(name, "VMs can be limited by " + words.apply(status.usable()));
            }
            return new Check(
                    name,
                    Status.WARN,
                    Remedies.sentence(status.obstacle().get())
                            + (status.usable().isEmpty() ? "" : "; " + words.apply(status.usable()) + " can be used"),
                    Remedies.remedy(status.obstacle().get()) + " Only limits by "
                            + words.apply(status.missing())
                            + " need it, and are refused until then.");
        } catch (ForkdException e) {
            return failed(name, Status.WARN, e);
        }
    }

    private static Check tap() {
        if (!Files.exists(DEVICES.resolve(TAP))) {
            return new Check(
                    "tap device",
                    Status.SKIP,
                    "there is no " + TAP + ": guests have no network, which exec, eval and ping need not",
                    "sudo forkd net setup --user $USER; then --tap " + TAP + ".");
        }
        try {
            String flags = Files.readString(DEVICES.resolve(TAP).resolve("flags"))
                    .strip()
                    .substring(2);
            return (Integer.parseInt(flags, 16) & 1) == 1
                    ? pass("tap device", TAP + " is up")
                    : new Check("tap device", Status.WARN, TAP + " is down", "sudo ip link set " + TAP + " up");
        } catch (IOException e) {
            return fail("tap device", ForkdException.of("look at " + TAP, e));
        }
    }

    private static Check forwarding() {
        String name = "ip_forward";
        if (!Files.exists(DEVICES.resolve(TAP))) {
            return new Check(name, Status.SKIP, "of no use without a tap device", "");
        }
        try {
            String value =
                    Files.readString(Path.of("/proc/sys/net/ipv4/ip_forward")).strip();
            return value.equals("1")
                    ? pass(name, "guests with a network reach other machines")
                    : new Check(
                            name,
                            Status.WARN,
                            "it is " + value + ": guests reach this machine only",
                            "sudo sysctl -w net.ipv4.ip_forward=1");
        } catch (IOException e) {
            return new Check(name, Status.WARN, "it cannot be read", "");
        }
    }

    private Check networks() {
        String name = "networks";
        Networks networks = shell.engine().networks();
        try {
            Optional<ForkdException> obstacle = networks.obstacle();
            if (obstacle.isPresent()) {
                throw obstacle.get();
            }
            Networks.Status status = networks.status();
            int others = networks.foreign().size();
            return pass(
                    name,
                    "children can have networks of their own; " + status.ready().size() + " are ready, "
                            + status.used().size() + " in use"
                            + (others > 0 ? ", and " + others + " forkd-child-* are somebody else's" : ""));
        } catch (ForkdException e) { // Guests run without.
            return new Check(
                    name,
                    Status.WARN,
                    "children get no networks of their own (--per-child-netns, --network): " + Remedies.sentence(e),
                    Remedies.remedy(e));
        }
    }

    private Check names() {
        String name = "names in policies";
        return shell.engine()
                .networks()
                .nameObstacle()
                .map(e -> new Check(name, Status.WARN, Remedies.sentence(e), Remedies.remedy(e)))
                .orElseGet(() -> pass(name, "dnsmasq is there, and a resolver for it to ask"));
    }

    private Check daemon() {
        Optional<DaemonClient> daemon;
        try {
            daemon = remote.namedOrOwn(shell);
        } catch (ForkdException e) {
            return fail("daemon", e);
        }
        return daemon.map(client -> daemon(
                        client,
                        () -> Answer.all(client.get("/v1/snapshots", Duration.ofSeconds(2)))
                                .size()))
                .orElseGet(() -> new Check(
                        "daemon", Status.SKIP, "none runs; only workspace and the SDKs need one", "forkd daemon"));
    }

    private static Check daemon(DaemonClient client, Supplier<Integer> snapshots) {
        try {
            return pass("daemon", client.url() + ", " + snapshots.get() + " snapshots");
        } catch (DaemonClient.Refused e) {
            return failed("daemon", e.status() == 401 ? Status.FAIL : Status.WARN, e);
        } catch (ForkdException e) {
            return failed("daemon", Status.WARN, e);
        }
    }
}
