package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.files.Waiter;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.ProcessId;
import io.forkd.sandbox.RunningServer;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.vmm.Branch;
import io.forkd.vmm.ForkServer;
import io.forkd.vmm.ServerOptions;
import io.forkd.vmm.ServerStatus;
import io.forkd.vmm.ServerStatus.Written;
import io.forkd.vmm.Vmm;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;

/**
 * The fork servers that outlive their command: kept for the next one, or branches that are being written. Each is in a
 * directory named after the snapshot, when that was made, and the version of the monitor, so that a snapshot which took
 * another's place never meets its server.
 */
final class Servers implements SnapshotStore.Writers {
    private static final int MAX_PARKED = 128;

    /** A child that was forked in advance is there in half of the time, and costs what an idle one does. */
    private static final int PARKED = 4;

    private static final int MAX_IDLE_SECS = 1_000_000;

    private final Vmm vmm;
    private final RuntimeDirectory runtime;
    private final Map<String, String> environment;
    private volatile Optional<String> version = Optional.empty();
    private volatile Optional<Channels> channels = Optional.empty();

    Servers(Vmm vmm, RuntimeDirectory runtime, Map<String, String> environment) {
        this.vmm = vmm;
        this.runtime = runtime;
        this.environment = environment;
    }

    /** A server that somebody may use, and what is known of it. */
    record Lease(ForkServer server, Origin base, boolean kept) implements AutoCloseable {
        @Override
        public void close() {
            server.close();
        }
    }

    /** From now on channels to servers are kept for a moment, until this is closed. */
    Channels keepChannels(Duration unused) {
        Channels kept = new Channels(unused);
        channels = Optional.of(kept);
        return kept;
    }

    /** What is found in a server's directory. */
    private sealed interface Seen {
        /** It can be used. */
        record Answers(RunningServer known, Lease lease) implements Seen {}

        /** It lives and cannot be talked to: it is stopped, or of another version, or its file is damaged. */
        record Silent(Path directory) implements Seen {}

        record Gone() implements Seen {}
    }

    static Origin origin(Snapshot snapshot) {
        return new Origin(snapshot.tag().value(), snapshot.manifest().createdAt());
    }

    /** How long a server that nobody uses is kept; zero: not at all. */
    Duration idle() {
        return Duration.ofSeconds(setting("FORKD_SERVER_IDLE_SECS", 60, MAX_IDLE_SECS));
    }

    private int setting(String name, int otherwise, int most) {
        String text = environment.getOrDefault(name, "");
        try {
            int value = text.isEmpty() ? otherwise : Integer.parseInt(text);
            if (value >= 0 && value <= most) {
                return value;
            }
        } catch (NumberFormatException e) {
            // said below
        }
        throw new ForkdException(Kind.USAGE, name + "=" + text + " is not a number from 0 to " + most);
    }

    /** The server of that snapshot, if a channel to it was kept. */
    Optional<Lease> connected(Snapshot snapshot) {
        return channels.flatMap(all -> all.take(origin(snapshot)))
                .map(channel -> new Lease(channel, channel.of().base(), true));
    }

    /** The server of that snapshot, if one runs and answers. */
    Optional<Lease> running(Snapshot snapshot) {
        Optional<Lease> kept = connected(snapshot);
        return kept.isPresent() || !(look(directory(snapshot)) instanceof Seen.Answers answers)
                ? kept
                : Optional.of(kept(answers));
    }

    /** Starts a server that is kept, unless somebody else was faster, or one that is stopped has the place. */
    Lease start(Launch launch, Waiter waiter) {
        Path directory = directory(launch.snapshot());
        return guarded(directory, Optional.of(waiter), () -> {
            Seen other = look(directory);
            if (other instanceof Seen.Answers answers) {
                return answers.lease();
            }
            if (other instanceof Seen.Silent) {
                return startOwn(launch, true);
            }
            Origin origin = origin(launch.snapshot());
            RunningServer server = new RunningServer(directory, origin, origin, Instant.now(), Optional.empty());
            Path control = enter(server);
            try {
                ForkServer started = vmm.serve(options(launch, Optional.of(control), true));
                note(server, started);
                return new Lease(started, origin, true);
            } catch (RuntimeException e) {
                Trees.delete(directory);
                throw e;
            }
        });
    }

    /** Starts a server that ends with the lease. */
    Lease startOwn(Launch launch, boolean prepare) {
        return new Lease(vmm.serve(options(launch, Optional.empty(), prepare)), origin(launch.snapshot()), false);
    }

    private ServerOptions options(Launch launch, Optional<Path> control, boolean prepare) {
        Snapshot snapshot = launch.snapshot();
        int parked = control.isPresent() ? setting("FORKD_SERVER_PARKED", PARKED, MAX_PARKED) : 0;
        Optional<Path> workingSet = prepare ? Optional.of(snapshot.workingSet()) : Optional.empty();
        return new ServerOptions(
                launch.memory(), launch.vmstate(), launch.disks(), parked, control, idle(), workingSet, false);
    }

    /** Has nobody come to the server of that snapshot any more: it ends with its last child. */
    void retire(Snapshot snapshot) {
        Path directory = directory(snapshot);
        guarded(directory, Optional.empty(), () -> {
            Trees.delete(directory);
            return true;
        });
    }

    /** Makes a branch whose other side is found under {@code snapshot}, which it writes. */
    Branch branch(Snapshot snapshot, Origin base, Function<Path, Branch> branch, Waiter waiter) {
        Path directory = directory(snapshot);
        return guarded(directory, Optional.of(waiter), () -> {
            RunningServer server =
                    new RunningServer(directory, origin(snapshot), base, Instant.now(), Optional.empty());
            Path control = enter(server);
            try {
                Branch made = branch.apply(control);
                note(server, made.server());
                return made;
            } catch (RuntimeException e) {
                Trees.delete(directory);
                throw e;
            }
        });
    }

    /** Writes down which process it is, by which it is found when it does not answer. */
    private static void note(RunningServer server, ForkServer started) {
        try {
            server.withProcess(ProcessId.of(started.status().pid())).write();
        } catch (ForkdException e) {
            // It ended at once, which is told by who uses it.
        }
    }

    @Override
    public boolean isWriting(Snapshot snapshot) {
        Seen seen = look(directory(snapshot));
        if (!(seen instanceof Seen.Answers answers)) {
            return seen instanceof Seen.Silent; // It goes on when it is continued.
        }
        try (Lease held = answers.lease()) {
            return held.server().status().written() != Written.FAILED;
        } catch (VmmException e) {
            return !hasEnded(snapshot, e);
        }
    }

    /** Every server that lives. */
    List<ServerInfo> list() {
        return Parallel.map(directories(), this::info).stream()
                .flatMap(Optional::stream)
                .toList();
    }

    private Optional<ServerInfo> info(Path directory) {
        Seen seen = look(directory);
        if (seen instanceof Seen.Silent) {
            return Optional.of(silent(directory));
        }
        if (!(seen instanceof Seen.Answers answers)) {
            return Optional.empty();
        }
        try (Lease held = answers.lease()) {
            ServerStatus status = held.server().status();
            return RunningServer.read(directory)
                    .map(server -> ServerInfo.Answering.of(server, status, memory(status.pid())));
        } catch (VmmException e) {
            return e.nobodyThere() ? Optional.empty() : Optional.of(silent(directory));
        }
    }

    private static ServerInfo silent(Path directory) {
        return new ServerInfo.Silent(readable(directory).map(RunningServer::snapshot), process(directory));
    }

    /** The process of a server that does not answer. */
    private static Optional<ProcessId> process(Path directory) {
        return readable(directory)
                .flatMap(RunningServer::process)
                .or(() -> ProcessId.listeningAt(RuntimeDirectory.control(directory)));
    }

    private static Optional<RunningServer> readable(Path directory) {
        try {
            return RunningServer.read(directory);
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    /** What the kernel counts as this process's share of the memory; 0 when it does not say. */
    private static long memory(int pid) {
        try {
            // As a whole: a stream would throw something else when the process ends meanwhile.
            return Files.readString(Path.of("/proc", Integer.toString(pid), "smaps_rollup"))
                    .lines()
                    .filter(line -> line.startsWith("Pss:"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024)
                    .findFirst()
                    .orElse(0);
        } catch (IOException e) {
            return 0;
        }
    }

    @Override
    public void requireUnused(Snapshot snapshot) {
        Seen seen = look(directory(snapshot));
        if (seen instanceof Seen.Silent silent) {
            throw mayBeUsed(snapshot, process(silent.directory()));
        }
        if (!(seen instanceof Seen.Answers answers)) {
            return;
        }
        try (Lease held = answers.lease()) {
            requireUnused(snapshot, held.server().status());
        } catch (VmmException e) {
            if (!hasEnded(snapshot, e)) {
                throw e;
            }
        }
    }

    /** Whether that is why it failed: a channel may break before its process is gone. */
    private boolean hasEnded(Snapshot snapshot, VmmException e) {
        return e.nobodyThere() || isGone(directory(snapshot));
    }

    private static void requireUnused(Snapshot snapshot, ServerStatus status) {
        if (status.children() > 0) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the fork server of '" + snapshot.tag() + "' (pid " + status.pid() + ") has " + status.children()
                            + " children",
                    Remedy.Action.END_USERS_OR_FORCE);
        }
    }

    /** A branch with children ends with them; a server that was started from files is left to them, and ends by itself. */
    @Override
    public void end(Snapshot snapshot) {
        Seen seen = look(directory(snapshot));
        if (seen instanceof Seen.Silent silent) {
            process(silent.directory()).ifPresent(this::kill);
            sweep();
        }
        if (!(seen instanceof Seen.Answers answers)) {
            return;
        }
        try (Lease held = answers.lease()) {
            ServerStatus status = held.server().status();
            boolean writing = status.written() == Written.UNDER_WAY;
            if (status.children() == 0 || writing) {
                ProcessId.of(status.pid()).ifPresent(this::kill);
                sweep();
            }
        } catch (VmmException e) {
            if (!hasEnded(snapshot, e)) {
                throw e;
            }
            sweep();
        }
    }

    private static ForkdException mayBeUsed(Snapshot snapshot, Optional<ProcessId> process) {
        return new ForkdException(
                Kind.CONFLICT,
                "the fork server of '" + snapshot.tag() + "'"
                        + process.map(id -> " (pid " + id.pid() + ")").orElse("")
                        + " does not answer, and may have children",
                Remedy.Action.CONTINUE_OR_FORCE);
    }

    private void kill(ProcessId process) {
        vmm.kill(process.pid(), process.startTime());
    }

    /** What is left of servers that are no more. */
    List<Leftover> leftovers() {
        return Parallel.map(
                        directories(),
                        directory -> isGone(directory)
                                ? Optional.of(Leftover.removed(directory, () -> remove(directory)))
                                : Optional.<Leftover>empty())
                .stream()
                .flatMap(Optional::stream)
                .toList();
    }

    /** Under the lock, since one that is being started is in its directory before it answers. */
    private void remove(Path directory) {
        guarded(directory, Optional.empty(), () -> {
            if (isGone(directory)) {
                Trees.delete(directory);
                Files.deleteIfExists(lock(directory));
            }
            return true;
        });
    }

    private boolean isGone(Path directory) {
        Seen seen = look(directory);
        if (seen instanceof Seen.Answers answers) {
            answers.lease().close();
        }
        return seen instanceof Seen.Gone;
    }

    private void sweep() {
        leftovers().forEach(Leftover::tryToRemove);
    }

    private List<Path> directories() {
        return runtime.list("servers").stream().filter(Files::isDirectory).toList();
    }

    private Path directory(Snapshot snapshot) {
        String key = snapshot.directory().toAbsolutePath().normalize() + "\n"
                + snapshot.manifest().createdAt() + "\n"
                + version();
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
            return runtime.root().resolve("servers").resolve(HexFormat.of().formatHex(hash, 0, 8));
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }

    private Lease kept(Seen.Answers answers) {
        Lease lease = answers.lease();
        return new Lease(
                channels.map(all -> all.opened(answers.known(), lease.server())).orElse(lease.server()),
                lease.base(),
                lease.kept());
    }

    /** Asked for once: what is unpacked is found by what the jar has. */
    private String version() {
        if (version.isEmpty()) {
            version = Optional.of(vmm.version());
        }
        return version.get();
    }

    private Seen look(Path directory) {
        if (!Files.isDirectory(directory)) {
            return new Seen.Gone();
        }
        Optional<RunningServer> server = readable(directory);
        if (server.flatMap(RunningServer::process).filter(ProcessId::isStopped).isPresent()) {
            return new Seen.Silent(directory);
        }
        try {
            ForkServer attached = vmm.attachServer(RuntimeDirectory.control(directory));
            if (server.isPresent()) {
                return new Seen.Answers(
                        server.get(), new Lease(attached, server.get().base(), true));
            }
            attached.close();
            return new Seen.Silent(directory);
        } catch (VmmException e) {
            return e.nobodyThere() ? new Seen.Gone() : new Seen.Silent(directory);
        }
    }

    /** Makes the directory of a server that is about to start, in place of one that has ended. */
    private static Path enter(RunningServer server) throws IOException {
        Path control = server.control();
        Trees.delete(server.directory());
        Files.createDirectory(server.directory(), Trees.PRIVATE);
        server.write();
        return control;
    }

    private interface Job<T> {
        T run() throws IOException;
    }

    private static Path lock(Path directory) {
        return directory.resolveSibling(OwnedDirectory.LOCK + "-" + directory.getFileName());
    }

    /** One at a time starts the server of that folder, or removes what is left of it. */
    private <T> T guarded(Path directory, Optional<Waiter> waiter, Job<T> job) {
        runtime.servers();
        Path lock = lock(directory);
        try (FileLock held = waiter.isPresent()
                ? FileLock.exclusive(lock, "the fork server", waiter.get())
                : FileLock.exclusive(lock)) {
            return job.run();
        } catch (IOException e) {
            throw ForkdException.of("start or remove a fork server in " + runtime.root(), e);
        }
    }
}
