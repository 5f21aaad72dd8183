package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.cgroup.Cgroups;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.network.NetworkPolicy;
import io.forkd.network.Networks;
import io.forkd.sandbox.ConsoleLog;
import io.forkd.sandbox.Figures;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.BeingMade;
import io.forkd.sandbox.Found.Damaged;
import io.forkd.sandbox.Found.Ended;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.OtherVersion;
import io.forkd.sandbox.Found.Paused;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Found.Stopped;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.ProcessId;
import io.forkd.sandbox.Room;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.vmm.NativeError;
import io.forkd.vmm.Vm;
import io.forkd.vmm.Vmm;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/** The VMs that outlive their commands: listed, found, ended, and what is left of the dead removed. */
public final class Sandboxes {
    /** Is written anew when one of them has been changed. */
    private static final String CHANGED = ".changed";

    private static final FileTime NEVER = FileTime.fromMillis(0);

    /** How often one is looked at that is to end. */
    private static final long LOOK_MS = 100;

    /** How often what is moved between two places is looked for. */
    private static final int LOOKS = 3;

    private final Vmm vmm;
    private final RuntimeDirectory runtime;
    private final Networks networks;
    private final Cgroups cgroups;
    private final PausedSandboxes paused;
    private final Names names;
    private final Events events = new Events();

    /** Processes that somebody here has ended or paused, which the kernel will tell of. */
    private final Set<ProcessId> announced = ConcurrentHashMap.newKeySet();

    private volatile Optional<Live> live = Optional.empty();
    private volatile FileTime lastMade = NEVER;
    private volatile FileTime lastChanged = NEVER;
    private volatile Optional<Deadlines> deadlines = Optional.empty();

    Sandboxes(Vmm vmm, RuntimeDirectory runtime, Networks networks, Cgroups cgroups, PausedSandboxes paused) {
        this.vmm = vmm;
        this.runtime = runtime;
        this.networks = networks;
        this.cgroups = cgroups;
        this.paused = paused;
        this.names = new Names(paused.store().root().resolveSibling("names"), this::mayHave);
    }

    private boolean mayHave(String id, String name) {
        Optional<Found> found = there(id, this::look);
        if (found.isPresent()) {
            return !(found.get() instanceof Known known)
                    || known.sandbox().naming().name().equals(Optional.of(name));
        }
        Path directory = root().resolve(id);
        try {
            return Files.exists(directory) && unlisted(directory) instanceof BeingMade;
        } catch (ForkdException e) {
            return false; // It has gone meanwhile.
        }
    }

    /** The id of the sandbox that is called so: by its id, or by the name that its owner has given it. */
    public String id(Optional<String> owner, String idOrName) {
        return Sandbox.isId(idOrName) ? idOrName : names.find(owner, idOrName).orElse(idOrName);
    }

    Names names() {
        return names;
    }

    /** The user whose it is. */
    static Optional<String> owner(Path directory) {
        try {
            return Manifest.read(Sandbox.manifest(directory)).owner();
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    void releaseName(Sandbox sandbox) {
        sandbox.naming().name().ifPresent(name -> names.release(owner(sandbox.directory()), name, sandbox.id()));
    }

    /** From now on each is looked at once, and what is left of it removed when it has ended; until this is closed. */
    AutoCloseable follow() {
        Live following = new Live(vmm.watch(), sandbox -> {
            Optional<String> owner = owner(sandbox.directory());
            leftover(sandbox.directory()).tryToRemove();
            if (sandbox.process().filter(announced::remove).isEmpty()) {
                tellEnd(sandbox, owner);
            }
            // Who has paused it does that, and may resume it at this moment.
            if (!paused.has(sandbox.id())) {
                releaseNetworks(List.of(sandbox));
            }
        });
        live = Optional.of(following);
        return () -> {
            live = Optional.empty();
            following.close();
        };
    }

    Events events() {
        return events;
    }

    /** Of one that ended without a word from here, or was paused by another process. */
    private void tellEnd(Sandbox sandbox, Optional<String> owner) {
        if (runs(sandbox.id()).isPresent()) {
            return; // It has been resumed since.
        }
        if (isPaused(sandbox.id())) {
            events.happened(
                    Events.Kind.PAUSED, sandbox.id(), owner(paused.directory(sandbox.id())), "by another process");
        } else {
            events.happened(
                    Events.Kind.ENDED,
                    sandbox.id(),
                    owner,
                    killed(sandbox.id()).map(Obituary::reason).orElse("its process ended"));
        }
    }

    /** To be said before that process ends: whoever follows hears of it from here alone. */
    void announce(Sandbox sandbox) {
        if (live.filter(all -> all.has(sandbox)).isPresent()
                && sandbox.startTime().isPresent()) {
            sandbox.process().ifPresent(announced::add);
        }
    }

    /** One that answers. */
    void answered(Sandbox sandbox) {
        live.ifPresent(known -> known.add(sandbox));
        if (sandbox.lifetime().isTimed()) {
            deadlines.ifPresent(all -> all.note(sandbox));
        }
    }

    /** From now on the time of those that are seen is watched, until there are none again. */
    void watchTimes(Optional<Deadlines> watching) {
        deadlines = watching;
    }

    /** Those that live or are paused, by age, whatever state they are in. */
    public List<Found> list() {
        return withPaused(() -> living(survey()), directory -> true);
    }

    /**
     * By age. One is paused although its process, which stands still, has not been ended yet; and one that is paused or
     * resumed meanwhile is seen once.
     */
    private List<Found> withPaused(Supplier<List<Found>> look, Predicate<Path> wanted) {
        List<Found> before = paused.list();
        List<Found> living = look.get();
        List<Found> after = paused.list();
        if (before.isEmpty() && after.isEmpty()) {
            return living;
        }
        Map<String, Found> all = new LinkedHashMap<>();
        living.forEach(found -> all.put(found.id(), found));
        after.stream().filter(found -> wanted.test(found.directory())).forEach(found -> all.put(found.id(), found));
        before.stream()
                .filter(found -> wanted.test(found.directory()) && !all.containsKey(found.id()))
                .flatMap(found -> there(found.id(), this::look).stream())
                .forEach(found -> all.put(found.id(), found));
        return byAge(List.copyOf(all.values()));
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
        return withPaused(() -> swept(survey()), directory -> true);
    }

    /** As {@link #sweep}, and each is asked how it is, also one that is followed. */
    public List<Found> ask() {
        return withPaused(() -> swept(ask(directories())), directory -> true);
    }

    /** Asks those alone whose folder is wanted, and leaves all others as they are. */
    public List<Found> ask(Predicate<Path> wanted) {
        return withPaused(
                () -> living(ask(directories().stream().filter(wanted).toList())).stream()
                        .map(Sandboxes::withVolumes)
                        .toList(),
                wanted);
    }

    private List<Found> ask(List<Path> directories) {
        return Parallel.map(directories, directory -> isWhole(directory) ? ask(directory) : unlisted(directory));
    }

    /** Where the sandbox of that id would be, without looking whether it lives. */
    public Optional<Path> directory(String id) {
        if (!Sandbox.isId(id)) {
            return Optional.empty();
        }
        return Optional.of(paused.find(id).map(Found::directory).orElseGet(() -> root().resolve(id)));
    }

    private List<Found> swept(List<Found> all) {
        all.stream()
                .filter(Ended.class::isInstance)
                .forEach(found -> leftover(found.directory()).tryToRemove());
        sweepBatches();
        sweepNetworks();
        sweepCgroups(all);
        sweepPaused();
        names.sweep();
        return living(all).stream().map(Sandboxes::withVolumes).toList();
    }

    /** What is left of pauses that were not finished, and of those that have been resumed. */
    private void sweepPaused() {
        for (Found asleep : paused.list()) {
            // Its process stands still: who paused it was killed before it could end that.
            if (asleep instanceof Paused && isLeft(root().resolve(asleep.id()))) {
                ifNobodyIsAtIt(asleep.id(), () -> {
                    if (paused.find(asleep.id()).isPresent()) {
                        clear(asleep.id());
                    }
                });
            }
        }
        for (String id : paused.unused()) {
            ifNobodyIsAtIt(id, () -> {
                // One that lives may be writing it, and is not asked.
                boolean resumed = Files.exists(paused.directory(id).resolve(Snapshot.VMSTATE));
                if (paused.unused().contains(id) && (resumed || isGone(root().resolve(id)))) {
                    paused.discard(id);
                }
            });
        }
        paused.store().sweep();
    }

    /** How long one takes to be paused is up to its limits, and others are not to wait for that. */
    private void ifNobodyIsAtIt(String id, Runnable job) {
        try (PausedSandboxes.Alone alone = paused.tryLock(id).orElse(null)) {
            if (alone != null) {
                job.run();
            }
        } catch (ForkdException e) {
            // The next sweep tries again.
        }
    }

    /** What is told of the killed is kept for a while; what is left of branches that have ended is not. */
    private void sweepCgroups(List<Found> all) {
        cgroups.sweep(runtime::has);
        all.stream()
                .filter(Known.class::isInstance)
                .map(found -> ((Known) found).sandbox())
                .forEach(sandbox ->
                        sandbox.cgroup().ifPresent(group -> Cgroups.settleBranches(group, sandbox.limits())));
        Obituary.sweep(root());
    }

    private static boolean isLeft(Path directory) {
        try {
            return Files.exists(directory) && !OwnedDirectory.isAlive(directory);
        } catch (IOException e) {
            return false;
        }
    }

    /** Those that were killed by the kernel in the last day, and why. */
    public List<Obituary> killed() {
        return Obituary.all(root());
    }

    /** Why the kernel has killed it, if it has. */
    public Optional<Obituary> killed(String id) {
        return Sandbox.isId(id)
                ? Obituary.read(root(), id)
                        .or(() -> readable(root().resolve(id)).flatMap(Obituary::of))
                        .or(() -> Obituary.read(root(), id)) // It may have been written down just now.
                : Optional.empty();
    }

    private static Optional<Sandbox> readable(Path directory) {
        try {
            return Sandbox.read(directory);
        } catch (ForkdException e) {
            return Optional.empty();
        }
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
        return byAge(all.stream()
                .filter(found -> !(found instanceof Ended || found instanceof BeingMade))
                .toList());
    }

    private static List<Found> byAge(List<Found> all) {
        return all.stream()
                .sorted(Comparator.comparing(
                        found -> found instanceof Known known ? known.sandbox().createdAt() : Instant.EPOCH))
                .toList();
    }

    /** The sandbox with that id, which lives and answers. */
    public Sandbox find(String id) {
        return running(findAny(id));
    }

    /** Notes the times of those that others have made or changed, if there are any since the last look. */
    void noteTimes(Deadlines all) {
        FileTime made = modified(root());
        if (!made.equals(lastMade)) {
            lastMade = made;
            // Those that answer are noted.
            directories().stream()
                    .filter(directory ->
                            live.flatMap(known -> known.find(directory)).isEmpty())
                    .forEach(this::look);
        }
        FileTime changed = modified(root().resolve(CHANGED));
        if (!changed.equals(lastChanged)) {
            lastChanged = changed;
            living(survey()).stream()
                    .filter(Known.class::isInstance)
                    .map(found -> ((Known) found).sandbox())
                    .forEach(all::note);
        }
    }

    private static FileTime modified(Path file) {
        try {
            return Files.getLastModifiedTime(file);
        } catch (IOException e) {
            return NEVER; // Nothing was ever made.
        }
    }

    /** What was found, if it lives and answers. */
    Sandbox running(Found found) {
        String id = found.id();
        if (found instanceof Running running) {
            requireTaken(running.sandbox());
            return running.sandbox();
        }
        if (found instanceof Paused) {
            throw pausedFailure(id);
        }
        throw new ForkdException(
                Kind.FAILED, "the sandbox '" + id + "' cannot be used: " + problem(found), new Remedy.EndSandbox(id));
    }

    /** What a pool keeps ready stays as it was made until it is taken. */
    private static void requireTaken(Sandbox sandbox) {
        if (sandbox.isPools()) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the sandbox '" + sandbox.id() + "' is of the pool '"
                            + sandbox.pool().orElseThrow().pool() + "', of which it has to be taken");
        }
    }

    /** What it takes of the host; empty when it has no process. */
    public Optional<Figures> figures(String id) {
        return runs(id).flatMap(Sandbox::process).flatMap(Figures::of);
    }

    /**
     * What its guest has written to its console since it was forked or resumed.
     *
     * @throws ForkdException when it does not run
     */
    public ConsoleLog console(String id) {
        Sandbox sandbox = runs(id).orElseGet(() -> find(id));
        return ConsoleLog.open(id, Sandbox.console(sandbox.directory()));
    }

    /** Copies a console's log on as it grows, until the sandbox has ended, or is paused. */
    public void follow(String id, ConsoleLog log, OutputStream out, Call call) throws IOException {
        Optional<ProcessId> process = runs(id).flatMap(Sandbox::process);
        boolean lives;
        do {
            lives = process.isPresent()
                    && ProcessId.of(process.get().pid()).equals(process)
                    && Files.exists(root().resolve(id));
            if (lives) {
                pause(call);
            }
            if (!log.copyTo(out) && !lives) {
                log.copyTo(out);
            }
        } while (lives);
    }

    /** Waits until the sandbox has ended; one that is paused has not. */
    public void awaitEnd(String id, Call call) {
        Optional<Found> found = Optional.of(findAny(id));
        while (found.isPresent()) {
            Optional<ProcessId> process = found.get() instanceof Known known && !(found.get() instanceof Paused)
                    ? known.sandbox().process()
                    : Optional.empty();
            // Nobody is asked as long as its process is there.
            do {
                pause(call);
            } while (process.isPresent()
                    && ProcessId.of(process.get().pid()).equals(process)
                    && Files.exists(root().resolve(id)));
            found = there(id, this::look);
        }
    }

    private static void pause(Call call) {
        call.interruptibly(() -> {
            try {
                Thread.sleep(LOOK_MS);
            } catch (InterruptedException e) {
                call.check();
            }
            return true;
        });
    }

    /** The sandbox with that id, if it runs. */
    Optional<Sandbox> runs(String id) {
        return there(id, this::look)
                .filter(found -> found instanceof Known && !(found instanceof Paused))
                .map(found -> ((Known) found).sandbox());
    }

    /** Whether it is still the one that it was: it has neither ended nor been paused since. */
    boolean isThere(Sandbox sandbox) {
        return runs(sandbox.id())
                .filter(now -> now.pid() == sandbox.pid() && now.startTime().equals(sandbox.startTime()))
                .isPresent();
    }

    private static ForkdException pausedFailure(String id) {
        return new ForkdException(Kind.CONFLICT, "the sandbox '" + id + "' is paused", new Remedy.ResumeSandbox(id));
    }

    /**
     * What the folder of that sandbox tells of how long it goes on, without a look at whether it does: so that nobody is
     * asked of one that has no end and is not paused. Endless when there is none.
     */
    public Lifetime lifetime(String id) {
        return Sandbox.isId(id)
                ? paused.find(id)
                        .flatMap(found ->
                                found instanceof Paused one ? Optional.of(one.sandbox()) : Optional.<Sandbox>empty())
                        .or(() -> readable(root().resolve(id)))
                        .map(Sandbox::lifetime)
                        .orElse(Lifetime.ENDLESS)
                : Lifetime.ENDLESS;
    }

    public boolean isPaused(String id) {
        return Sandbox.isId(id) && paused.find(id).isPresent();
    }

    /** Has what is written down of a sandbox be something else, whether it runs or is paused. */
    Sandbox change(String id, UnaryOperator<Sandbox> change) {
        findAny(id);
        try (PausedSandboxes.Alone alone = paused.lockSoon(id)) {
            return changeAlone(id, sandbox -> {
                requireTaken(sandbox);
                return change.apply(sandbox);
            });
        }
    }

    /** As {@link #change}, also of one that is a pool's, for who has it alone. */
    Sandbox changeAlone(String id, UnaryOperator<Sandbox> change) {
        try {
            Found found = findAny(id);
            if (!(found instanceof Known known)) {
                throw new ForkdException(
                        Kind.FAILED,
                        "the sandbox '" + id + "' cannot be changed: " + problem(found),
                        new Remedy.EndSandbox(id));
            }
            try (FileLock lock = FileLock.exclusive(runtime.sandboxes().resolve(OwnedDirectory.LOCK))) {
                Sandbox present = Sandbox.read(known.directory()).orElse(known.sandbox());
                Sandbox changed = change.apply(present);
                write(changed);
                if (found instanceof Paused) {
                    Trees.sync(Sandbox.file(changed.directory()));
                    Trees.sync(changed.directory());
                    return changed;
                }
            }
            // A service beside us looks again at what changed.
            Files.write(root().resolve(CHANGED), new byte[0]);
            return runs(id).map(now -> {
                        deadlines.ifPresent(all -> all.note(now));
                        return now;
                    })
                    .orElseGet(known::sandbox);
        } catch (IOException e) {
            throw ForkdException.of("change what is in " + root(), e);
        }
    }

    /** The sandbox with that id, which lives or is paused, whatever state it is in. */
    public Found findAny(String id) {
        return find(id, this::look);
    }

    /** As {@link #findAny}, and it is asked how it is, as {@link #ask()} asks all. */
    public Found ask(String id) {
        return find(id, directory -> withVolumes(ask(directory)));
    }

    private Found find(String id, Function<Path, Found> look) {
        return there(id, look)
                .orElseThrow(() -> new ForkdException(
                        Kind.NOT_FOUND,
                        "there is no sandbox '" + id + "'"
                                + killed(id)
                                        .map(killed -> " any more: " + killed.reason())
                                        .orElse(
                                                Sandbox.isId(id) && Files.exists(root().resolve(id))
                                                        ? " any more: it has ended"
                                                        : ""),
                        Remedy.Action.LIST_SANDBOXES));
    }

    /** One that is paused and resumed while it is looked for is found all the same. */
    private Optional<Found> there(String id, Function<Path, Found> look) {
        Optional<Found> found = Optional.empty();
        for (int i = 0; i < LOOKS && found.isEmpty() && Sandbox.isId(id); i++) {
            found = paused.find(id)
                    .or(() -> runtime.find("sandboxes", id)
                            .map(look)
                            .filter(there -> !(there instanceof Ended || there instanceof BeingMade)));
        }
        return found;
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
        return kill(all, "killed", progress);
    }

    /** @param why for those that hear of it */
    List<Optional<ForkdException>> kill(List<Found> all, String why, Progress progress) {
        List<Optional<ForkdException>> results = Parallel.map(all, found -> {
            try {
                Optional<String> owner = owner(found.directory());
                if (found instanceof Known known) {
                    announce(known.sandbox());
                }
                kill(found, progress);
                events.happened(Events.Kind.ENDED, found.id(), owner, why);
                return Optional.empty();
            } catch (ForkdException e) {
                if (found instanceof Known known) {
                    known.sandbox().process().ifPresent(announced::remove);
                }
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
                                    .orElse("no network of its own, for which there could be a policy"),
                    sandbox.netns().isPresent() ? Remedy.NONE : Remedy.Action.OWN_NETWORKS);
        }
        try (PausedSandboxes.Alone alone = paused.lockSoon(id);
                FileLock lock = FileLock.exclusive(runtime.sandboxes().resolve(OwnedDirectory.LOCK))) {
            Sandbox present = Sandbox.read(sandbox.directory()).orElse(sandbox);
            String netns = present.netns().orElseThrow();
            NetworkPolicy old = present.network().orElseThrow();
            Sandbox changed = present.withNetwork(change.apply(old));
            try {
                networks.set(netns, changed.network().orElseThrow());
                write(changed);
            } catch (ForkdException e) {
                // What is told of it, and what its branches get, is what is in force.
                try {
                    networks.set(netns, old);
                } catch (ForkdException again) {
                    e.addSuppressed(again);
                }
                throw e;
            }
            return changed;
        } catch (IOException e) {
            throw ForkdException.of("change what is in " + root(), e);
        }
    }

    private void write(Sandbox changed) {
        changed.write();
        live.ifPresent(all -> all.changed(changed.directory()));
    }

    private void kill(Found found, Progress progress) {
        if (found instanceof Known known) {
            releaseName(known.sandbox());
        }
        // Whoever is pausing it may be at that for as long as its limits have it, unless it ends.
        if (paused.find(found.id()).isEmpty()) {
            killLiving(found, progress);
        }
        if (paused.has(found.id())) {
            killPaused(found.id(), progress);
        }
    }

    /** Or one that has just been resumed, or is being paused. */
    private void killPaused(String id, Progress progress) {
        try (PausedSandboxes.Alone alone = paused.lockSoon(id)) {
            if (paused.find(id).isPresent()) {
                clear(id);
            } else {
                runtime.find("sandboxes", id).map(this::look).ifPresent(found -> killLiving(found, progress));
            }
            paused.discard(id);
        }
    }

    /** Ends and removes what is left of a sandbox that is paused: a process that stands still, and what it had. */
    void clear(String id) {
        Path directory = root().resolve(id);
        if (Files.exists(directory)) {
            Optional<Sandbox> left = readable(directory);
            endAndRemove(directory, left);
            left.ifPresent(sandbox -> releaseNetworks(List.of(sandbox)));
        }
    }

    private void killLiving(Found found, Progress progress) {
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
        endAndRemove(found.directory(), found instanceof Known known ? Optional.of(known.sandbox()) : Optional.empty());
    }

    private void endAndRemove(Path directory, Optional<Sandbox> sandbox) {
        end(directory, sandbox);
        sandbox.flatMap(Sandbox::cgroup).ifPresent(Cgroups::remove);
        if (isWhole(directory)) {
            paused.discardSpent(String.valueOf(directory.getFileName()));
        }
        try {
            OwnedDirectory.removeAbandoned(directory);
        } catch (IOException e) {
            throw ForkdException.of("remove " + directory, e);
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
        return living(survey()).stream().filter(Known.class::isInstance).map(found -> ((Known) found).sandbox());
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
            Optional<Sandbox> sandbox = readable(directory);
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
            sandbox.flatMap(Obituary::of).ifPresent(killed -> killed.write(root()));
            if (isWhole(directory)) {
                paused.discardSpent(String.valueOf(directory.getFileName()));
            }
            claimed.get().remove();
            sandbox.flatMap(Sandbox::cgroup).ifPresent(Cgroups::remove);
        });
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
