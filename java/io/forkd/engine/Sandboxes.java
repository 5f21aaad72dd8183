package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.network.NetworkPolicy;
import io.forkd.network.Networks;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.BeingMade;
import io.forkd.sandbox.Found.Damaged;
import io.forkd.sandbox.Found.Ended;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.OtherVersion;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Found.Stopped;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.ProcessId;
import io.forkd.sandbox.Room;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.NativeError;
import io.forkd.vmm.Vm;
import io.forkd.vmm.Vmm;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/** The VMs that outlive their commands: listed, found, ended, and what is left of the dead removed. */
public final class Sandboxes {
    private final Vmm vmm;
    private final RuntimeDirectory runtime;
    private final Networks networks;
    private volatile Optional<Live> live = Optional.empty();

    Sandboxes(Vmm vmm, RuntimeDirectory runtime, Networks networks) {
        this.vmm = vmm;
        this.runtime = runtime;
        this.networks = networks;
    }

    /** From now on each is looked at once, and what is left of it removed when it has ended; until this is closed. */
    AutoCloseable follow() {
        Live following = new Live(vmm.watch(), sandbox -> {
            leftover(sandbox.directory()).tryToRemove();
            MemoryLimit.remove(sandbox.pid());
            releaseNetworks(List.of(sandbox));
        });
        live = Optional.of(following);
        return () -> {
            live = Optional.empty();
            following.close();
        };
    }

    /** One that answers. */
    void answered(Sandbox sandbox) {
        live.ifPresent(known -> known.add(sandbox));
    }

    /** Those that live, by age, whatever state they are in. */
    public List<Found> list() {
        return living(survey());
    }

    /** How many processes of sandboxes there are. Nobody is asked, so that none of them can hold this up. */
    public int count() {
        return (int) directories().stream().filter(this::hasProcess).count();
    }

    private boolean hasProcess(Path directory) {
        if (live.flatMap(all -> all.find(directory)).isPresent()) {
            return true;
        }
        try {
            return Sandbox.read(directory)
                    .filter(sandbox -> sandbox.startTime().isPresent())
                    .flatMap(Sandbox::process)
                    .filter(process -> ProcessId.of(process.pid()).equals(Optional.of(process)))
                    .isPresent();
        } catch (ForkdException e) {
            return false; // Nobody can tell whose process it is.
        }
    }

    /** As {@link #list}; what is left of the others is removed on the way. */
    public List<Found> sweep() {
        return swept(survey());
    }

    /** As {@link #sweep}, and each is asked how it is, also one that is followed. */
    public List<Found> ask() {
        return swept(ask(directories()));
    }

    /** Asks those alone whose folder is wanted, and leaves all others as they are. */
    public List<Found> ask(Predicate<Path> wanted) {
        return living(ask(directories().stream().filter(wanted).toList())).stream()
                .map(Sandboxes::withVolumes)
                .toList();
    }

    private List<Found> ask(List<Path> directories) {
        return Parallel.map(directories, directory -> isWhole(directory) ? ask(directory) : unlisted(directory));
    }

    /** Where the sandbox of that id would be, without looking whether it is there. */
    public Optional<Path> directory(String id) {
        return Sandbox.isId(id) ? Optional.of(root().resolve(id)) : Optional.empty();
    }

    private List<Found> swept(List<Found> all) {
        all.stream()
                .filter(Ended.class::isInstance)
                .forEach(found -> leftover(found.directory()).tryToRemove());
        MemoryLimit.sweep();
        sweepBatches();
        sweepNetworks();
        return living(all).stream().map(Sandboxes::withVolumes).toList();
    }

    private void sweepBatches() {
        try {
            Batch.sweep(root());
        } catch (IOException e) {
            // The next sweep tries again.
        }
    }

    /** A forkd that was killed while it branched the sandbox has left its guest without its volumes. */
    private static Found withVolumes(Found found) {
        if (!(found instanceof Running running && running.volumesAway())) {
            return found;
        }
        new SandboxVolumes(running.sandbox()).giveBackIfLeft();
        return new Running(running.sandbox(), SandboxVolumes.areAway(found.directory()), running.room());
    }

    /** As {@link #sweep} does, for the sandbox of that id alone; nothing when there is none. */
    public void giveVolumesBack(String id) {
        Path directory = root().resolve(id);
        if (Sandbox.isId(id) && SandboxVolumes.areAway(directory)) {
            withVolumes(look(directory));
        }
    }

    private static List<Found> living(List<Found> all) {
        return all.stream()
                .filter(found -> !(found instanceof Ended || found instanceof BeingMade))
                .sorted(Comparator.comparing(
                        found -> found instanceof Known known ? known.sandbox().createdAt() : Instant.EPOCH))
                .toList();
    }

    /** The sandbox with that id, which lives and answers. */
    public Sandbox find(String id) {
        Found found = findAny(id);
        if (found instanceof Running running) {
            return running.sandbox();
        }
        throw new ForkdException(
                Kind.FAILED, "the sandbox '" + id + "' cannot be used: " + problem(found), new Remedy.EndSandbox(id));
    }

    /** The sandbox with that id, which lives, whatever state it is in. */
    public Found findAny(String id) {
        return find(id, this::look);
    }

    /** As {@link #findAny}, and it is asked how it is, as {@link #ask()} asks all. */
    public Found ask(String id) {
        return find(id, directory -> withVolumes(ask(directory)));
    }

    private Found find(String id, Function<Path, Found> look) {
        Optional<Found> found = Sandbox.isId(id) ? runtime.find("sandboxes", id).map(look) : Optional.empty();
        boolean ended = found.isPresent() && found.get() instanceof Ended;
        return found.filter(there -> !ended && !(there instanceof BeingMade))
                .orElseThrow(() -> new ForkdException(
                        Kind.NOT_FOUND,
                        "there is no sandbox '" + id + "'" + (ended ? " any more: it has ended" : ""),
                        Remedy.Action.LIST_SANDBOXES));
    }

    /** Of the sandbox whose agent is reached by that socket; empty when it is none of ours. */
    public Optional<String> idAt(Path socket) {
        return Optional.ofNullable(socket.toAbsolutePath().normalize().getParent())
                .filter(directory -> root().equals(directory.getParent()))
                .map(directory -> String.valueOf(directory.getFileName()));
    }

    /** Whether there was room for what a sandbox wrote to its disks; of what is none, or has ended, it is not known. */
    public Room room(String id) {
        if (!Sandbox.isId(id)) {
            return Room.LEFT;
        }
        try (Vm vm = vmm.attach(RuntimeDirectory.control(root().resolve(id)))) {
            return room(vm);
        } catch (VmmException e) {
            return Room.LEFT;
        }
    }

    static Room room(Vm vm) {
        return vm.await(Duration.ZERO)
                .map(status -> status.hostFull() ? Room.HOST_FULL : status.diskFull() ? Room.LIMIT_REACHED : Room.LEFT)
                .orElse(Room.LEFT);
    }

    /** Why a sandbox that is not running cannot be used. */
    private static String problem(Found found) {
        if (found instanceof Stopped stopped) {
            return "its process " + stopped.sandbox().pid() + " does not answer; kill -CONT lets one that was stopped"
                    + " go on";
        }
        if (found instanceof Damaged damaged) {
            return damaged.reason();
        }
        return found instanceof OtherVersion ? "it was made by another version of forkd" : "it is not ready";
    }

    /**
     * Ends sandboxes, many at a time, when their volumes have what was written to them, and removes what belongs to them.
     *
     * @return for each why it lives on; empty when it does not
     */
    public List<Optional<ForkdException>> kill(List<Found> all, Progress progress) {
        List<Optional<ForkdException>> results = Parallel.map(all, found -> {
            try {
                kill(found, progress);
                return Optional.empty();
            } catch (ForkdException e) {
                return Optional.of(e);
            }
        });
        releaseNetworks(all.stream()
                .filter(Known.class::isInstance)
                .map(found -> ((Known) found).sandbox())
                .toList());
        return results;
    }

    /** Those of sandboxes that have ended. */
    private void releaseNetworks(List<Sandbox> all) {
        List<Path> gone = all.stream()
                .filter(sandbox -> sandbox.netns().isPresent() && !Files.exists(sandbox.directory()))
                .map(Sandbox::directory)
                .toList();
        try {
            if (!gone.isEmpty()) {
                networks.release(gone);
            }
        } catch (ForkdException e) {
            // The next sweep tries again.
        }
    }

    /** Takes back the networks of what has ended: of sandboxes, and of runs whose process died. */
    public void sweepNetworks() {
        ofRuns().forEach(Leftover::tryToRemove);
        try {
            networks.sweep();
        } catch (ForkdException e) {
            // The next one tries again.
        }
    }

    /** Has one follow another network policy from now on, which is made of the one that it has. */
    public Sandbox setNetwork(String id, UnaryOperator<NetworkPolicy> change) {
        Sandbox sandbox = find(id);
        if (sandbox.network().isEmpty()) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the sandbox '" + id + "' has "
                            + sandbox.netns()
                                    .map(name ->
                                            "its network in " + name + ", which somebody else made, who sets its rules")
                                    .orElse("no network of its own, for which there could be a policy"));
        }
        try (FileLock lock = FileLock.exclusive(runtime.sandboxes().resolve(OwnedDirectory.LOCK))) {
            Sandbox present = Sandbox.read(sandbox.directory()).orElse(sandbox);
            NetworkPolicy policy = change.apply(present.network().orElseThrow());
            networks.set(present.netns().orElseThrow(), policy);
            Sandbox changed = present.withNetwork(policy);
            changed.write();
            return changed;
        } catch (IOException e) {
            throw ForkdException.of("change what is in " + root(), e);
        }
    }

    private void kill(Found found, Progress progress) {
        List<Path> volumes = found instanceof Known known ? known.sandbox().volumes() : List.of();
        // Agents of all versions can do that.
        if (found instanceof Running || found instanceof OtherVersion) {
            WrittenVolumes.flush(
                    new AgentClient(new AgentAddress.Vsock(Sandbox.vsock(found.directory()))), volumes, progress);
        } else if (!volumes.isEmpty()) {
            progress.warn(found.id() + " could not write out what it has for " + volumes);
        }
        endAndRemove(found);
    }

    private void endAndRemove(Found found) {
        end(found.directory(), found instanceof Known known ? Optional.of(known.sandbox()) : Optional.empty());
        if (found instanceof Known known) {
            MemoryLimit.remove(known.sandbox().pid());
        }
        try {
            OwnedDirectory.removeAbandoned(found.directory());
        } catch (IOException e) {
            throw ForkdException.of("remove " + found.directory(), e);
        }
    }

    /** Over its channel, and when nobody answers there by its process. */
    private void end(Path directory, Optional<Sandbox> sandbox) {
        Path control = RuntimeDirectory.control(directory);
        Optional<ProcessId> process = sandbox.flatMap(Sandbox::process).filter(ProcessId::isStopped);
        if (process.isEmpty()) {
            try (Vm vm = vmm.attach(control)) {
                vm.kill();
                return;
            } catch (VmmException e) {
                if (e.nobodyThere()) {
                    sandbox.ifPresent(this::endHidden);
                    return;
                }
                process = sandbox.flatMap(Sandbox::process).or(() -> ProcessId.listeningAt(control));
                if (process.isEmpty()) {
                    throw e;
                }
            }
        }
        vmm.kill(process.get().pid(), process.get().startTime());
    }

    /**
     * A process that a guest has taken over may give up its socket, so as to be taken for one that has ended, and keep what
     * it has: its network, which would become another's. One that is about to end loses nothing.
     */
    private void endHidden(Sandbox sandbox) {
        sandbox.process()
                .filter(process -> sandbox.startTime().isPresent())
                .filter(process -> ProcessId.of(process.pid()).equals(Optional.of(process)))
                .ifPresent(process -> vmm.kill(process.pid(), process.startTime()));
    }

    /** The network namespaces of those that live or are being made. */
    Set<String> namespaces() {
        Set<String> used = new HashSet<>();
        for (Found found : survey()) {
            if (found instanceof Known known) {
                known.sandbox().netns().ifPresent(used::add);
            } else if (!(found instanceof Ended)) {
                chosen(found.directory()).ifPresent(used::add);
            }
        }
        return used;
    }

    /** The namespace that one has been given which nothing else tells of. */
    private static Optional<String> chosen(Path directory) {
        try {
            Path file = Sandbox.namespace(directory);
            return Files.exists(file) ? Optional.of(Files.readString(file)) : Optional.empty();
        } catch (IOException e) {
            return Optional.empty(); // It ended meanwhile.
        }
    }

    /** Those that use a snapshot: that were forked from it, or have their memory mapped from its files. */
    List<Sandbox> of(Origin snapshot) {
        return known().filter(sandbox ->
                        sandbox.snapshot().equals(snapshot) || sandbox.base().equals(snapshot))
                .toList();
    }

    /** Those that live and of which is known what they use. */
    Stream<Sandbox> known() {
        return list().stream().filter(Known.class::isInstance).map(found -> ((Known) found).sandbox());
    }

    void countBranch(Sandbox sandbox, Path branch) {
        try (FileLock lock = FileLock.exclusive(runtime.sandboxes().resolve(OwnedDirectory.LOCK))) {
            Sandbox.read(sandbox.directory())
                    .ifPresent(now -> now.withOneMoreBranch(branch).write());
        } catch (IOException e) {
            throw ForkdException.of("change what is in " + root(), e);
        }
    }

    /** What is left of runs whose process died. */
    List<Leftover> ofRuns() {
        return runtime.leftovers().stream()
                .map(run -> Leftover.removed(run, () -> OwnedDirectory.removeAbandoned(run)))
                .toList();
    }

    /** What is left of sandboxes that are no more. */
    List<Leftover> leftovers() {
        return survey().stream()
                .filter(Ended.class::isInstance)
                .map(found -> leftover(found.directory()))
                .toList();
    }

    /** Sandboxes that live and of which nobody can tell any more what they are. */
    List<Leftover> damaged() {
        return survey().stream()
                .filter(found -> found instanceof Damaged && isDamaged(found.directory()))
                .map(found ->
                        Leftover.removed(found.directory(), "a damaged sandbox, which runs", () -> endAndRemove(found)))
                .toList();
    }

    /** As against one whose file cannot be read now, or in this locale. */
    private static boolean isDamaged(Path directory) {
        try {
            Sandbox.read(directory);
            return false;
        } catch (ForkdException e) {
            return e.kind() == Kind.DAMAGED;
        }
    }

    private Leftover leftover(Path directory) {
        return Leftover.removed(directory, () -> {
            Optional<OwnedDirectory> claimed = OwnedDirectory.claim(directory);
            if (claimed.isEmpty()) {
                return;
            }
            if (isWhole(directory)
                    && (Files.exists(Sandbox.file(directory)) || Batch.complete(root(), directory))
                    && !isGone(directory)) {
                claimed.get().release();
                return;
            }
            if (isWhole(directory)) {
                // Its maker may have died before it was ready, and nobody knows of it.
                end(directory, readable(directory));
            }
            claimed.get().remove();
        });
    }

    private static Optional<Sandbox> readable(Path directory) {
        try {
            return Sandbox.read(directory);
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    /** Whether it has the name that it was made with: another one is what is left of its removal. */
    private static boolean isWhole(Path directory) {
        return Sandbox.isId(String.valueOf(directory.getFileName()));
    }

    private boolean isGone(Path directory) {
        try {
            vmm.attach(RuntimeDirectory.control(directory)).close();
            return false;
        } catch (VmmException e) {
            return e.nobodyThere();
        }
    }

    private List<Found> survey() {
        List<Found> found = new ArrayList<>();
        List<Path> others = new ArrayList<>();
        for (Path directory : directories()) {
            known(directory).ifPresentOrElse(found::add, () -> others.add(directory));
        }
        found.addAll(Parallel.map(others, this::look));
        return found;
    }

    private List<Path> directories() {
        return runtime.list("sandboxes").stream()
                .filter(entry -> String.valueOf(entry.getFileName()).startsWith(Sandbox.PREFIX))
                .toList();
    }

    private Path root() {
        return runtime.root().resolve("sandboxes");
    }

    private Found look(Path directory) {
        if (!isWhole(directory)) {
            return unlisted(directory);
        }
        return known(directory).orElseGet(() -> ask(directory));
    }

    /** One that is known to live, without asking it. */
    private Optional<Found> known(Path directory) {
        return live.flatMap(all -> all.find(directory))
                .map(sandbox -> sandbox.process().filter(ProcessId::isStopped).isPresent()
                        ? new Stopped(sandbox)
                        : new Running(sandbox, SandboxVolumes.areAway(directory), Room.LEFT));
    }

    private Found ask(Path directory) {
        Optional<Sandbox> sandbox;
        try {
            sandbox = Sandbox.read(directory);
            if (sandbox.isEmpty()) {
                return unlisted(directory);
            }
        } catch (ForkdException e) {
            return isGone(directory) ? unlisted(directory) : new Damaged(directory, e.sentence());
        }
        if (sandbox.get().startTime().isPresent()
                && sandbox.get().process().filter(ProcessId::isStopped).isPresent()) {
            return new Stopped(sandbox.get());
        }
        try (Vm vm = vmm.attach(sandbox.get().control())) {
            answered(sandbox.get());
            return new Running(sandbox.get(), SandboxVolumes.areAway(directory), room(vm));
        } catch (VmmException e) {
            if (e.nobodyThere()) {
                return unlisted(directory);
            }
            return e.error().code() == NativeError.EPROTO
                    ? new OtherVersion(sandbox.get())
                    : new Stopped(sandbox.get());
        }
    }

    private static Found unlisted(Path directory) {
        try {
            // A directory is owned while its sandbox is being made.
            return OwnedDirectory.isAlive(directory) ? new BeingMade(directory) : new Ended(directory);
        } catch (IOException e) {
            throw ForkdException.of("look at " + directory, e);
        }
    }
}
