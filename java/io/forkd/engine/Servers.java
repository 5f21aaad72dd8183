package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.RunningServer;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.vmm.Branch;
import io.forkd.vmm.Disk;
import io.forkd.vmm.ForkServer;
import io.forkd.vmm.NativeFiles;
import io.forkd.vmm.ServerOptions;
import io.forkd.vmm.ServerStatus;
import io.forkd.vmm.ServerStatus.Written;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;

/**
 * The fork servers that outlive their command: kept for the next one, or branches that are being written. Each is in a
 * directory named after the snapshot, when that was made, and the version of the monitor, so that a snapshot which took
 * another's place never meets its server.
 */
final class Servers implements SnapshotStore.Writers {
    private static final Duration END = Duration.ofSeconds(10);
    private static final int MAX_PARKED = 128;
    private static final int MAX_IDLE_SECS = 1_000_000;

    private final RuntimeDirectory runtime;
    private final Map<String, String> environment;

    Servers(RuntimeDirectory runtime, Map<String, String> environment) {
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

    /** The server of that snapshot, if one runs. */
    Optional<Lease> running(Snapshot snapshot) {
        return attach(directory(snapshot));
    }

    /** Starts a server that is kept, unless somebody else was faster. */
    Lease start(Snapshot snapshot, Path memory, List<Disk> disks) {
        return guarded(() -> {
            Path directory = directory(snapshot);
            Optional<Lease> other = attach(directory);
            if (other.isPresent()) {
                return other.get();
            }
            Origin origin = origin(snapshot);
            Path control = enter(new RunningServer(directory, origin, origin, Instant.now()));
            try {
                return new Lease(
                        ForkServer.start(options(snapshot, memory, disks, Optional.of(control), true)), origin, true);
            } catch (RuntimeException e) {
                Trees.delete(directory);
                throw e;
            }
        });
    }

    /** Starts a server that ends with the lease. */
    Lease startOwn(Snapshot snapshot, Path memory, List<Disk> disks, boolean prepare) {
        return new Lease(
                ForkServer.start(options(snapshot, memory, disks, Optional.empty(), prepare)), origin(snapshot), false);
    }

    private ServerOptions options(
            Snapshot snapshot, Path memory, List<Disk> disks, Optional<Path> control, boolean prepare) {
        int parked = control.isPresent() ? setting("FORKD_SERVER_PARKED", 0, MAX_PARKED) : 0;
        Optional<Path> workingSet = prepare ? Optional.of(snapshot.workingSet()) : Optional.empty();
        return new ServerOptions(memory, snapshot.vmstate(), disks, parked, control, idle(), workingSet);
    }

    /** Makes a branch whose other side is found under {@code snapshot}, which it writes. */
    Branch branch(Snapshot snapshot, Origin base, Function<Path, Branch> branch) {
        return guarded(() -> {
            Path directory = directory(snapshot);
            Path control = enter(new RunningServer(directory, origin(snapshot), base, Instant.now()));
            try {
                return branch.apply(control);
            } catch (RuntimeException e) {
                Trees.delete(directory);
                throw e;
            }
        });
    }

    @Override
    public boolean isWriting(Snapshot snapshot) {
        Optional<Lease> lease = running(snapshot);
        if (lease.isEmpty()) {
            return false;
        }
        try (Lease held = lease.get()) {
            return held.server().status().written() != Written.FAILED;
        } catch (VmmException e) {
            return false; // It ended just now.
        }
    }

    /** Every server that lives. */
    List<ServerInfo> list() {
        List<ServerInfo> found = new ArrayList<>();
        for (Path directory : directories()) {
            try {
                attach(directory).ifPresent(lease -> {
                    try (Lease held = lease) {
                        ServerStatus status = held.server().status();
                        RunningServer.read(directory)
                                .ifPresent(server -> found.add(ServerInfo.of(server, status, memory(status.pid()))));
                    }
                });
            } catch (VmmException e) {
                // It ended just now, or is another version's.
            }
        }
        return found;
    }

    /** What the kernel counts as this process's share of the memory; 0 when it does not say. */
    private static long memory(int pid) {
        try (var lines = Files.lines(Path.of("/proc", Integer.toString(pid), "smaps_rollup"))) {
            return lines.filter(line -> line.startsWith("Pss:"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024)
                    .findFirst()
                    .orElse(0);
        } catch (IOException e) {
            return 0;
        }
    }

    /**
     * Ends the server of a snapshot that is to be removed.
     *
     * @param evenIfUsed also a branch with children, which end with it; a server that was started from files is left to
     *     them, and ends by itself
     */
    void end(Snapshot snapshot, boolean evenIfUsed) {
        Optional<Lease> lease = running(snapshot);
        if (lease.isEmpty()) {
            return;
        }
        try (Lease held = lease.get()) {
            ServerStatus status = held.server().status();
            boolean writing = status.written() == Written.UNDER_WAY;
            if (status.children() > 0 && !evenIfUsed) {
                throw new ForkdException(
                        Kind.CONFLICT,
                        "the fork server of '" + snapshot.tag() + "' (pid " + status.pid() + ") has "
                                + status.children() + " children",
                        "End them first, or give --force.");
            }
            if (status.children() == 0 || writing) {
                kill(status.pid());
                sweep();
            }
        } catch (VmmException e) {
            sweep(); // It ended just now.
        }
    }

    private static void kill(int pid) {
        ProcessHandle.of(pid).ifPresent(process -> {
            process.destroyForcibly();
            try {
                process.onExit().get(END.toSeconds(), TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            } catch (ExecutionException | TimeoutException e) {
                throw new ForkdException(Kind.FAILED, "the fork server with pid " + pid + " does not end");
            }
        });
    }

    /** Directories of servers that are no more. */
    List<Path> leftovers() {
        List<Path> found = new ArrayList<>();
        for (Path directory : directories()) {
            try {
                Optional<Lease> lease = attach(directory);
                lease.ifPresent(Lease::close);
                if (lease.isEmpty()) {
                    found.add(directory);
                }
            } catch (VmmException e) {
                // It lives, though we cannot talk to it.
            }
        }
        return found;
    }

    void sweep() {
        if (directories().isEmpty()) {
            return;
        }
        guarded(() -> {
            for (Path directory : leftovers()) {
                Trees.delete(directory);
            }
            return true;
        });
    }

    private List<Path> directories() {
        try {
            return Trees.list(runtime.root().resolve("servers")).stream()
                    .filter(Files::isDirectory)
                    .toList();
        } catch (IOException e) {
            throw ForkdException.of("list the servers in " + runtime.root(), e);
        }
    }

    private Path directory(Snapshot snapshot) {
        String key = snapshot.directory().toAbsolutePath().normalize() + "\n"
                + snapshot.manifest().createdAt() + "\n"
                + NativeFiles.installed().version();
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
            return runtime.root().resolve("servers").resolve(HexFormat.of().formatHex(hash, 0, 8));
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }

    private static Optional<Lease> attach(Path directory) {
        Optional<RunningServer> server = RunningServer.read(directory);
        if (server.isEmpty()) {
            return Optional.empty();
        }
        try {
            return Optional.of(new Lease(
                    ForkServer.attach(server.get().control()), server.get().base(), true));
        } catch (VmmException e) {
            if (e.nobodyThere()) {
                return Optional.empty();
            }
            throw e;
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

    /** One command at a time starts servers or removes what is left of them. */
    private <T> T guarded(Job<T> job) {
        Path lock = runtime.servers().resolve(OwnedDirectory.LOCK);
        try (FileLock held = FileLock.exclusive(lock)) {
            return job.run();
        } catch (IOException e) {
            throw ForkdException.of("start or remove a fork server in " + runtime.root(), e);
        }
    }
}
