package io.forkd.vmm;

import io.forkd.Limits;
import io.forkd.image.Digest;
import io.forkd.vmm.ServerStatus.Written;
import io.forkd.vmm.VmStatus.End;
import io.forkd.vmm.VmStatus.Phase;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.BlockingDeque;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.LinkedBlockingDeque;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Function;

/**
 * A monitor without virtual machines, whose "processes" are objects. What those above the monitor look at is there: the
 * files of snapshots, control sockets (plain files, known by their inode), a socket of each guest's agent, and for what
 * they look up in /proc, a real process. A guest's memory is one page of text, which is what {@code eval} answers, and
 * what {@code exec set TEXT} changes.
 *
 * <p>Every call is a step, which a test may count, hold, and let go wrong. What a call that fails leaves is what libforkd
 * leaves: nothing of its own.
 */
public final class MemoryVmm implements Vmm, AutoCloseable {
    private static final int PAGE = 4096;
    private static final int EPIPE = -32;

    /** No process has such a number. */
    private static final int FIRST_PID = 5_000_000;

    /** What is asked of the monitor, of a process of its, of what one does by itself, or of a guest's agent. */
    public enum Step {
        BOOT,
        SERVE,
        ATTACH,
        ATTACH_SERVER,
        KILL_PROCESS,
        FLATTEN_MEMORY,
        FLATTEN_DISK,
        VERITY,
        WATCH,
        WATCH_ADD,
        AWAIT_ANY,
        AWAIT,
        AWAIT_END,
        SNAPSHOT,
        BRANCH,
        RESET,
        FREEZE,
        /** Of a branch, by its twin. */
        WRITE,
        KILL,
        CLOSE,
        FORK,
        STATUS,
        AWAIT_WRITTEN,
        AGENT
    }

    /** How a step goes wrong. */
    public sealed interface Fault {
        /** It goes well. */
        record None() implements Fault {}

        /** It fails with this error, where one can be told. */
        record Fails(int code) implements Fault {}

        /** The process that it is asked of is killed before; what starts one finds that it died. */
        record Dies() implements Fault {}

        /** It goes on until its process has ended; a fork makes a child that does not come up. */
        record Hangs() implements Fault {}

        Fault NONE = new None();
        Fault DIES = new Dies();
        Fault HANGS = new Hangs();
    }

    /** Decides how each step goes, on the thread that takes it. May wait. */
    public interface Plan {
        /** @param number from 1 on, of this monitor's steps since the plan was set */
        Fault at(int number, Step step);
    }

    private final Host host;
    private final List<Step> steps = new ArrayList<>();
    private volatile boolean watchesBroken;
    private volatile boolean watchesLate;
    private Plan plan = (number, step) -> Fault.NONE;

    public MemoryVmm() {
        this(new Host());
    }

    private MemoryVmm(Host host) {
        this.host = host;
    }

    /** What another process on this host uses: it meets the same VMs, and counts its own steps. */
    public MemoryVmm beside() {
        return new MemoryVmm(host);
    }

    /** From now on; the steps are counted anew. */
    public void plan(Plan next) {
        synchronized (steps) {
            steps.clear();
            plan = next;
        }
    }

    /** As they came. */
    public List<Step> steps() {
        synchronized (steps) {
            return List.copyOf(steps);
        }
    }

    public long count(Step step) {
        return steps().stream().filter(step::equals).count();
    }

    /** The same of cgroups. */
    public List<Optional<Path>> cgroups() {
        return List.copyOf(host.cgroups);
    }

    /** What each VM was given, in the order in which they were asked for. */
    public List<Limits> limits() {
        return List.copyOf(host.limits);
    }

    /** The VMs that live, of whatever kind. */
    public int vms() {
        return host.count(Guest.class);
    }

    /** After how long those that live are frozen that are. */
    public List<Duration> frozenAfter() {
        return host.all(Guest.class).stream()
                .flatMap(guest -> guest.freeze.stream())
                .toList();
    }

    /** The servers that live, twins too. */
    public int servers() {
        return host.count(Server.class);
    }

    /** The process of that number is killed, by the kernel say. */
    public void killed(int pid) {
        host.find(pid).ifPresent(process -> process.end(End.KILLED));
    }

    /** All of them are, by a restart of the host say. */
    public void killAll() {
        host.all(Process.class).forEach(process -> process.end(End.KILLED));
    }

    /** The process of that number answers nobody. */
    public void silence(int pid, boolean silent) {
        host.find(pid).ifPresent(process -> process.silent = silent);
    }

    /** The host had no room for what the VM of that process wrote. */
    public void fill(int pid) {
        host.find(pid).ifPresent(process -> process.full = true);
    }

    /** From now on no watch tells anything. */
    public void breakWatches() {
        watchesBroken = true;
    }

    /** Whether watches tell nothing yet, and all of it later. */
    public void delayWatches(boolean late) {
        watchesLate = late;
    }

    /** Servers that nobody uses have waited long enough. */
    public void endIdleServers() {
        host.all(Server.class).forEach(Server::endIfUnused);
    }

    /** Waits until every branch is on disk, or has failed. */
    public void awaitWriters() throws InterruptedException {
        for (Thread writer : host.writers) {
            writer.join();
            host.writers.remove(writer);
        }
    }

    /** Nothing that this monitor and those beside it have started goes on. */
    @Override
    public void close() {
        killAll();
        host.agents.close();
    }

    private Fault step(Step step) {
        Plan now;
        int number;
        synchronized (steps) {
            steps.add(step);
            number = steps.size();
            now = plan;
        }
        return now.at(number, step);
    }

    /** As {@link #step}, for what can fail. */
    private Fault tried(Step step, String object) {
        Fault fault = step(step);
        if (fault instanceof Fault.Fails failure) {
            throw error(failure.code(), step, object);
        }
        return fault;
    }

    private static VmmException error(int code, Step step, String object) {
        return new VmmException(new NativeError(
                code, step.toString(), object, step + " " + object + " failed with " + code + ", as planned"));
    }

    private static VmmException gone(Step step, Process process) {
        return error(EPIPE, step, "of process " + process.pid);
    }

    /** What all monitors share: the processes, and the sockets by which they are found. */
    private static final class Host {
        private final Map<Integer, Process> processes = new HashMap<>();
        private final Map<Object, Process> listening = new HashMap<>();
        private final MemoryAgents agents = new MemoryAgents();
        private final Map<Object, String> verity = new ConcurrentHashMap<>();
        private volatile boolean hasVerity;
        private final List<Thread> writers = new CopyOnWriteArrayList<>();
        private final List<Limits> limits = new CopyOnWriteArrayList<>();
        private final List<Optional<Path>> cgroups = new CopyOnWriteArrayList<>();
        private int next = FIRST_PID;

        synchronized int count(Class<? extends Process> kind) {
            return (int) processes.values().stream().filter(kind::isInstance).count();
        }

        synchronized <T> List<T> all(Class<T> kind) {
            return processes.values().stream()
                    .filter(kind::isInstance)
                    .map(kind::cast)
                    .toList();
        }

        synchronized Optional<Process> find(int pid) {
            return Optional.ofNullable(processes.get(pid));
        }

        synchronized void enter(Process process) {
            processes.put(process.pid, process);
        }

        synchronized int nextPid() {
            return next++;
        }

        synchronized Object listen(Path control, Process process) {
            try {
                Files.deleteIfExists(control);
                Files.createFile(control);
                Object key = key(control);
                listening.put(key, process);
                return key;
            } catch (IOException e) {
                throw new VmmException(new NativeError(NativeError.ENOENT, "bind", control.toString(), "" + e));
            }
        }

        synchronized void unlisten(Object key) {
            listening.remove(key);
        }

        synchronized void left(Process process) {
            processes.remove(process.pid);
            listening.values().removeIf(process::equals);
        }

        /** Who listens there; an error as of connect(2) when nobody does. */
        synchronized Process connect(Step step, Path control) {
            Process process;
            try {
                process = listening.get(key(control));
            } catch (IOException e) {
                throw error(NativeError.ENOENT, step, control.toString());
            }
            if (process == null) {
                throw error(NativeError.ECONNREFUSED, step, control.toString());
            }
            return process;
        }

        private static Object key(Path file) throws IOException {
            Object key = Files.readAttributes(file, BasicFileAttributes.class).fileKey();
            if (key == null) {
                throw new NoSuchFileException(file.toString());
            }
            return key;
        }
    }

    /** What has a number, and ends once. */
    private abstract static class Process {
        final Host host;
        final int pid;
        final long startTime;
        private final Optional<java.lang.Process> real;
        private final List<Runnable> atEnd = new ArrayList<>();
        volatile End end = End.NONE;
        volatile boolean silent;
        volatile boolean full;

        /** @param inProc whether it is looked up there, or killed by its number */
        Process(Host host, boolean inProc) {
            this.host = host;
            if (inProc) {
                try {
                    java.lang.Process sleep = new ProcessBuilder("sleep", "600").start();
                    real = Optional.of(sleep);
                    pid = (int) sleep.pid();
                    startTime = startTime(pid);
                    sleep.onExit().thenRun(() -> end(End.KILLED));
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            } else {
                real = Optional.empty();
                pid = host.nextPid();
                startTime = pid;
            }
            host.enter(this);
        }

        private static long startTime(int pid) throws IOException {
            String stat = Files.readString(Path.of("/proc/" + pid + "/stat"));
            return Long.parseLong(stat.substring(stat.lastIndexOf(')') + 2).split(" ")[19]);
        }

        boolean lives() {
            return end == End.NONE;
        }

        void end(End how) {
            List<Runnable> jobs;
            synchronized (this) {
                if (!lives()) {
                    return;
                }
                end = how;
                jobs = List.copyOf(atEnd);
                notifyAll();
            }
            host.left(this);
            real.ifPresent(java.lang.Process::destroyForcibly);
            jobs.forEach(Runnable::run);
        }

        /** Now, if it has ended. */
        void atEnd(Runnable job) {
            synchronized (this) {
                if (lives()) {
                    atEnd.add(job);
                    return;
                }
            }
            job.run();
        }

        /** Whether it came about in time. Whoever changes something notifies. */
        synchronized boolean await(Duration timeout, BooleanSupplier condition) {
            long deadline = System.nanoTime() + timeout.toNanos();
            while (!condition.getAsBoolean()) {
                long left = deadline - System.nanoTime();
                if (left <= 0) {
                    return false;
                }
                try {
                    wait(left / 1_000_000, (int) (left % 1_000_000));
                } catch (InterruptedException e) {
                    // A call of the library goes on.
                    Thread.currentThread().interrupt();
                    return condition.getAsBoolean();
                }
            }
            return true;
        }
    }

    /** A VM. */
    private static final class Guest extends Process implements MemoryAgents.Guest {
        private final long memoryBytes;
        private final Path vsock;
        private final Function<String, Fault> agentSteps;
        private final Optional<Path> learns;
        private final Optional<String> first;
        private volatile String text;
        private volatile boolean ready;
        private volatile boolean standsStill;
        private volatile Optional<Duration> freeze = Optional.empty();

        Guest(
                Host host,
                boolean inProc,
                String text,
                long memoryBytes,
                Path vsock,
                Optional<Path> learns,
                boolean ofFiles,
                Function<String, Fault> agentSteps) {
            super(host, inProc);
            this.text = text;
            this.first = ofFiles ? Optional.of(text) : Optional.empty();
            this.memoryBytes = memoryBytes;
            this.vsock = vsock;
            this.learns = learns;
            this.agentSteps = agentSteps;
        }

        synchronized void comeUp() {
            try {
                Runnable stop = host.agents.listen(vsock, this);
                ready = true;
                notifyAll();
                atEnd(stop);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        @Override
        public Fault step(String action) {
            return standsStill ? Fault.HANGS : agentSteps.apply(action);
        }

        @Override
        public String text() {
            return text;
        }

        @Override
        public void set(String next) {
            text = next;
        }

        @Override
        public void die() {
            end(End.KILLED);
        }

        @Override
        public void answered() throws IOException {
            if (learns.isPresent()) {
                Files.writeString(learns.get(), "learnt");
            }
        }

        VmStatus status() {
            Phase phase = !lives() ? Phase.ENDED : ready ? Phase.READY : Phase.STARTING;
            return new VmStatus(
                    phase, end, pid, startTime, full, false, Duration.ZERO, Duration.ZERO, Optional.empty());
        }
    }

    /** A fork server, or the twin of a branch. */
    private static final class Server extends Process {
        final String text;
        final long memoryBytes;
        final boolean detached;
        final Optional<Path> learns;
        final boolean ofFiles;
        final Set<Guest> children = new HashSet<>();
        private int handles;
        volatile Written written;
        volatile boolean unwritten; // a branch that nobody writes
        private volatile Optional<NativeError> failure = Optional.empty();

        Server(Host host, String text, long memoryBytes, boolean detached, Optional<Path> learns, Written written) {
            super(host, detached);
            this.text = text;
            this.memoryBytes = memoryBytes;
            this.detached = detached;
            this.learns = learns;
            this.ofFiles = written == Written.DONE;
            this.written = written;
        }

        synchronized void add(Guest child) {
            children.add(child);
            child.atEnd(() -> left(child));
        }

        private synchronized void left(Guest child) {
            children.remove(child);
        }

        synchronized int alive() {
            return children.size();
        }

        synchronized void hold(int more) {
            handles += more;
        }

        void endIfUnused() {
            synchronized (this) {
                if (handles > 0 || !children.isEmpty() || (written == Written.UNDER_WAY && !unwritten)) {
                    return;
                }
            }
            end(End.POWER_OFF);
        }

        synchronized void is(Written now, Optional<NativeError> error) {
            failure = error;
            written = now;
            notifyAll();
        }

        @Override
        void end(End how) {
            super.end(how);
            List<Guest> left;
            synchronized (this) {
                left = List.copyOf(children);
            }
            left.forEach(child -> child.end(End.KILLED));
        }
    }

    @Override
    public String version() {
        return "memory";
    }

    @Override
    public Vm boot(BootOptions options) {
        requireFile(Step.BOOT, options.kernel());
        host.limits.add(options.limits());
        host.cgroups.add(options.cgroup());
        Fault fault = tried(Step.BOOT, options.kernel().toString());
        if (fault instanceof Fault.Dies) {
            throw error(EPIPE, Step.BOOT, options.kernel().toString());
        }
        write(options.console(), "booted\n");
        Guest guest = new Guest(
                host,
                true,
                "booted " + host.nextPid(),
                options.memoryBytes(),
                options.vsock(),
                Optional.empty(),
                false,
                action -> step(Step.AGENT));
        if (!(fault instanceof Fault.Hangs)) {
            guest.comeUp();
        }
        return new MemoryVm(guest, false);
    }

    @Override
    public Vm attach(Path control) {
        Fault fault = tried(Step.ATTACH, control.toString());
        Process process = host.connect(Step.ATTACH, control);
        died(fault, process);
        requireAnswer(Step.ATTACH, control, process);
        if (!(process instanceof Guest guest)) {
            throw error(NativeError.EPROTO, Step.ATTACH, control.toString());
        }
        return new MemoryVm(guest, true);
    }

    @Override
    public ForkServer attachServer(Path control) {
        Fault fault = tried(Step.ATTACH_SERVER, control.toString());
        Process process = host.connect(Step.ATTACH_SERVER, control);
        died(fault, process);
        requireAnswer(Step.ATTACH_SERVER, control, process);
        if (!(process instanceof Server server)) {
            throw error(NativeError.EPROTO, Step.ATTACH_SERVER, control.toString());
        }
        return new MemoryServer(server);
    }

    private static void requireAnswer(Step step, Path control, Process process) {
        if (process.silent) {
            throw error(NativeError.ETIMEDOUT, step, control.toString());
        }
        if (!process.lives()) {
            throw error(NativeError.ECONNREFUSED, step, control.toString());
        }
    }

    private static void died(Fault fault, Process process) {
        if (fault instanceof Fault.Dies) {
            process.end(End.KILLED);
        } else if (fault instanceof Fault.Hangs) {
            process.await(Duration.ofDays(1), () -> !process.lives());
        }
    }

    @Override
    public Optional<Vm> awaitAny(List<Vm> vms, Duration timeout) {
        died(step(Step.AWAIT_ANY), ((MemoryVm) vms.get(0)).guest);
        long deadline = System.nanoTime() + timeout.toNanos();
        while (true) {
            for (Vm vm : vms) {
                if (((MemoryVm) vm).guest.status().phase() != Phase.STARTING) {
                    return Optional.of(vm);
                }
            }
            if (System.nanoTime() >= deadline) {
                return Optional.empty();
            }
            ((MemoryVm) vms.get(0)).guest.await(Duration.ofMillis(1), () -> false);
        }
    }

    @Override
    public boolean kill(int pid, long startTime) {
        tried(Step.KILL_PROCESS, Integer.toString(pid));
        Optional<Process> process = host.find(pid).filter(found -> found.startTime == startTime);
        process.ifPresent(found -> found.end(End.KILLED));
        return process.isPresent();
    }

    @Override
    public ProcessWatch watch() {
        tried(Step.WATCH, "processes");
        return new MemoryWatch();
    }

    @Override
    public ForkServer serve(ServerOptions options) {
        String text = opened(Step.SERVE, options.memory(), () -> page(options.memory()));
        long bytes = opened(Step.SERVE, options.memory(), () -> Files.size(options.memory()));
        options.disks().forEach(disk -> requireFile(Step.SERVE, disk.image()));
        if (tried(Step.SERVE, options.memory().toString()) instanceof Fault.Dies) {
            throw error(EPIPE, Step.SERVE, options.memory().toString());
        }
        String state = opened(Step.SERVE, options.vmstate(), () -> Files.readString(options.vmstate()));
        Server server = new Server(
                host,
                state.equals("of " + text) ? text : "mixed: a vmstate " + state + ", and the memory of " + text,
                bytes,
                options.control().isPresent(),
                options.learn() ? options.workingSet() : Optional.empty(),
                Written.DONE);
        options.control().ifPresent(control -> host.listen(control, server));
        return new MemoryServer(server);
    }

    @Override
    public void flattenMemory(Path base, List<Path> layers, Path out) {
        tried(Step.FLATTEN_MEMORY, out.toString());
        String text =
                opened(Step.FLATTEN_MEMORY, base, () -> page(layers.isEmpty() ? base : layers.get(layers.size() - 1)));
        opened(Step.FLATTEN_MEMORY, out, () -> writeMemory(out, text, Files.size(base)));
    }

    @Override
    public void requireMachine(Path vmstate) {
        // Whatever it is, it is memory here.
    }

    @Override
    public List<String> networkHelper() {
        return List.of("/nonexistent/forkd-net");
    }

    @Override
    public void flattenDisk(Disk disk, Path out) {
        tried(Step.FLATTEN_DISK, out.toString());
        opened(
                Step.FLATTEN_DISK,
                out,
                () -> Files.copy(disk.layers().get(disk.layers().size() - 1), out));
    }

    /** From now on the file system has fs-verity, or none any more. */
    public void hasVerity(boolean has) {
        host.hasVerity = has;
    }

    @Override
    public boolean enableVerity(Path file) {
        requireFile(Step.VERITY, file);
        tried(Step.VERITY, file.toString());
        if (host.hasVerity) {
            opened(Step.VERITY, file, () -> host.verity.putIfAbsent(Host.key(file), digest(file)));
        }
        return host.hasVerity;
    }

    @Override
    public Optional<String> verity(Path file) {
        Object key = opened(Step.VERITY, file, () -> Host.key(file));
        return host.hasVerity ? Optional.ofNullable(host.verity.get(key)) : Optional.empty();
    }

    private static String digest(Path file) {
        return Digest.ofFile(file, bytes -> {}).hex();
    }

    private interface Opening<T> {
        T run() throws IOException;
    }

    private static <T> T opened(Step step, Path file, Opening<T> opening) {
        try {
            return opening.run();
        } catch (IOException e) {
            throw error(NativeError.ENOENT, step, file.toString());
        }
    }

    private static void requireFile(Step step, Path file) {
        if (!Files.isRegularFile(file)) {
            throw error(NativeError.ENOENT, step, file.toString());
        }
    }

    private static void write(Path file, String text) {
        try {
            Files.writeString(file, text);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** What the guest whose memory this is would say. */
    private static String page(Path memory) throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(memory.toFile(), "r")) {
            byte[] page = new byte[PAGE];
            file.readFully(page);
            return new String(page, StandardCharsets.UTF_8).replace("\0", "");
        }
    }

    private static Path writeMemory(Path out, String text, long bytes) throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(out.toFile(), "rw")) {
            file.setLength(bytes);
            file.write(text.getBytes(StandardCharsets.UTF_8));
        }
        return out;
    }

    private final class MemoryVm implements Vm {
        private final Guest guest;
        private final boolean detached;
        private boolean closed;

        MemoryVm(Guest guest, boolean detached) {
            this.guest = guest;
            this.detached = detached;
        }

        private void requireOpen() {
            if (closed) {
                throw new IllegalStateException("this VM is closed");
            }
        }

        @Override
        public synchronized Optional<VmStatus> await(Duration timeout) {
            return await(Step.AWAIT, timeout, Phase.READY);
        }

        @Override
        public synchronized Optional<VmStatus> awaitEnd(Duration timeout) {
            return await(Step.AWAIT_END, timeout, Phase.ENDED);
        }

        private Optional<VmStatus> await(Step step, Duration timeout, Phase phase) {
            requireOpen();
            died(step(step), guest);
            return guest.await(timeout, () -> guest.status().phase().compareTo(phase) >= 0)
                    ? Optional.of(guest.status())
                    : Optional.empty();
        }

        private void asked(Step step) {
            requireOpen();
            died(tried(step, "of process " + guest.pid), guest);
            if (!guest.lives()) {
                throw gone(step, guest);
            }
        }

        @Override
        public synchronized void snapshot(Path directory) {
            asked(Step.SNAPSHOT);
            guest.standsStill = true;
            Path memory = directory.resolve("memory.bin");
            opened(Step.SNAPSHOT, memory, () -> writeMemory(memory, guest.text, guest.memoryBytes));
            Path vmstate = directory.resolve("vmstate");
            opened(Step.SNAPSHOT, vmstate, () -> Files.writeString(vmstate, "of " + guest.text));
        }

        @Override
        public synchronized Branch branch(BranchOptions options) {
            asked(Step.BRANCH);
            // So that nobody else begins there.
            Path vmstate = options.directory().resolve("vmstate.new");
            opened(Step.BRANCH, vmstate, () -> Files.createFile(vmstate));
            Server twin = new Server(
                    host,
                    guest.text,
                    guest.memoryBytes,
                    options.control().isPresent(),
                    Optional.empty(),
                    Written.UNDER_WAY);
            twin.unwritten = !options.written();
            Optional<Object> key = options.control().map(control -> host.listen(control, twin));
            ForkServer server = new MemoryServer(twin);
            Thread writer = new Thread(() -> writeOut(options, key, twin), "twin " + twin.pid);
            writer.setDaemon(true);
            if (options.written()) {
                host.writers.add(writer);
                writer.start();
            }
            return new Branch(Duration.ZERO, Branch.Way.FORK, server);
        }

        private void writeOut(BranchOptions options, Optional<Object> key, Server twin) {
            Path directory = options.directory();
            Path memory = directory.resolve(options.layer() ? "memory.layer" : "memory.bin");
            Path vmstate = directory.resolve("vmstate.new");
            try {
                writeMemory(memory, twin.text, options.layer() ? PAGE : twin.memoryBytes);
                Fault fault = step(Step.WRITE);
                died(fault, twin);
                if (!twin.lives()) {
                    return;
                }
                if (fault instanceof Fault.Fails failure) {
                    Files.deleteIfExists(memory);
                    Files.deleteIfExists(vmstate);
                    twin.is(
                            Written.FAILED,
                            Optional.of(error(failure.code(), Step.WRITE, "" + memory)
                                    .error()));
                } else {
                    Files.writeString(vmstate, "of " + twin.text);
                    Files.move(vmstate, directory.resolve("vmstate"), StandardCopyOption.ATOMIC_MOVE);
                    twin.is(Written.DONE, Optional.empty());
                }
            } catch (IOException e) {
                // Somebody removed the folder.
                twin.is(
                        Written.FAILED,
                        Optional.of(error(NativeError.ENOENT, Step.WRITE, "" + directory)
                                .error()));
            }
            key.ifPresent(host::unlisten);
            options.control().ifPresent(MemoryVmm::remove);
            twin.endIfUnused();
        }

        @Override
        public synchronized void reset(String hostname) {
            asked(Step.RESET);
            if (guest.standsStill) {
                throw error(NativeError.EBUSY, Step.RESET, "of process " + guest.pid);
            }
            guest.set(guest.first.orElseThrow(() -> error(NativeError.ENOTSUP, Step.RESET, "of process " + guest.pid)));
        }

        @Override
        public synchronized void freeze(Optional<Duration> after) {
            asked(Step.FREEZE);
            guest.freeze = after;
        }

        @Override
        public synchronized void kill() {
            requireOpen();
            step(Step.KILL);
            guest.end(End.KILLED);
        }

        @Override
        public synchronized void close() {
            if (!closed) {
                step(Step.CLOSE);
                closed = true;
                if (!detached) {
                    guest.end(End.KILLED);
                }
            }
        }
    }

    private static void remove(Path file) {
        try {
            Files.deleteIfExists(file);
        } catch (IOException e) {
            // Its folder is gone.
        }
    }

    private final class MemoryServer implements ForkServer {
        private final Server server;
        private boolean closed;

        MemoryServer(Server server) {
            this.server = server;
            server.hold(1);
        }

        private Fault asked(Step step) {
            if (closed) {
                throw new IllegalStateException("this fork server is closed");
            }
            Fault fault = tried(step, "of server " + server.pid);
            if (fault instanceof Fault.Dies) {
                server.end(End.KILLED);
            }
            if (!server.lives()) {
                throw gone(step, server);
            }
            return fault;
        }

        @Override
        public synchronized Vm fork(ChildOptions options) {
            Fault fault = asked(Step.FORK);
            host.limits.add(options.limits());
            host.cgroups.add(options.cgroup());
            options.console().ifPresent(console -> write(console, "forked\n"));
            Guest child = new Guest(
                    host,
                    false,
                    server.text,
                    server.memoryBytes,
                    options.vsock(),
                    server.learns,
                    server.ofFiles,
                    action -> step(Step.AGENT));
            if (options.control().isPresent()) {
                host.listen(options.control().get(), child);
            } else {
                server.add(child);
            }
            if (!(fault instanceof Fault.Hangs)) {
                child.comeUp();
            }
            return new MemoryVm(child, options.control().isPresent());
        }

        @Override
        public synchronized ServerStatus status() {
            asked(Step.STATUS);
            return new ServerStatus(server.pid, server.written, server.alive(), 0, server.failure);
        }

        @Override
        public synchronized boolean awaitWritten(Duration timeout) {
            asked(Step.AWAIT_WRITTEN);
            boolean known = server.await(timeout, () -> server.written != Written.UNDER_WAY || !server.lives());
            if (known && server.written == Written.FAILED) {
                throw new VmmException(server.failure.orElseThrow());
            }
            if (known && server.written == Written.UNDER_WAY) {
                throw gone(Step.AWAIT_WRITTEN, server);
            }
            return known;
        }

        @Override
        public synchronized void close() {
            if (!closed) {
                step(Step.CLOSE);
                closed = true;
                server.hold(-1);
                if (!server.detached) {
                    server.end(End.POWER_OFF);
                }
            }
        }
    }

    private final class MemoryWatch implements ProcessWatch {
        private final BlockingDeque<Long> ended = new LinkedBlockingDeque<>();

        @Override
        public boolean add(int pid, long startTime, long token) {
            tried(Step.WATCH_ADD, Integer.toString(pid));
            Optional<Process> process = host.find(pid).filter(found -> found.startTime == startTime);
            process.ifPresent(found -> found.atEnd(() -> ended.add(token)));
            return process.isPresent();
        }

        @Override
        public OptionalLong await(Duration timeout) {
            if (watchesBroken) {
                throw error(EPIPE, Step.WATCH, "processes");
            }
            try {
                Long token = ended.poll(timeout.toMillis(), TimeUnit.MILLISECONDS);
                if (token != null && watchesLate) {
                    ended.addFirst(token);
                    return OptionalLong.empty();
                }
                return token == null ? OptionalLong.empty() : OptionalLong.of(token);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return OptionalLong.empty();
            }
        }

        @Override
        public void close() {}
    }
}
