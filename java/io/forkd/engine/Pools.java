package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.FileLock;
import io.forkd.files.Trees;
import io.forkd.network.NetworkPolicy;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Membership;
import io.forkd.sandbox.Membership.State;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Sandboxes that are kept ready, taken, and given back. What there is to be is in files, one for each pool in a folder for each
 * user; which sandbox is ready in which, each says itself. So a service that is started again finds both, and what is
 * ready here is only where to look first.
 *
 * <p>One changes hands by what its file says, which is written by who has it alone: so two do not take the same, and what is
 * being ended is not taken.
 */
public final class Pools {
    /** No user's name begins so. */
    private static final String NOBODY = "-";

    /** Of one user's are made one after the other, so many at a time, so that nobody waits for all of another's. */
    private static final int AT_ONCE = 8;

    private static final int WORKERS = 4;
    private static final Duration MAKING = Duration.ofMinutes(2);
    private static final long SOON_MS = 20;
    private static final long AGAIN_MS = 5000;
    private static final long LOOK_SECS = 30;

    /** How long a call to a guest may take to end when that has been reset. */
    private static final Duration USES_END = Duration.ofSeconds(5);

    /** What one user may have of them: who looks reads all. */
    static final int MOST = 64;

    /** What may be made for a user. */
    public interface Admission {
        /** Carries it out, or fails when those would be too many, or more than the snapshot now gives the user. */
        <T> T admit(Pool pool, Snapshot snapshot, int count, Call call, Supplier<T> job);
    }

    private record Key(Optional<String> owner, String name) {}

    private static Key key(Pool pool) {
        return new Key(pool.owner(), pool.name());
    }

    /**
     * A pool as it is.
     *
     * @param taken those that have been taken and neither ended nor given back
     * @param problem why fewer are ready than there should be
     */
    public record Status(Pool pool, int ready, int taken, Optional<String> problem) {}

    private final Path root;
    private final Engine engine;
    private final Sandboxes sandboxes;
    private final PausedSandboxes paused;
    private final SnapshotStore store;
    private final Resets resets;
    private final Map<Key, Queue<String>> ready = new ConcurrentHashMap<>();
    private final Map<Key, String> problems = new ConcurrentHashMap<>();

    /** Those that are being filled, or will be; and whether they are to be looked at once more. */
    private final Map<Optional<String>, Boolean> due = new ConcurrentHashMap<>();

    /** Those that are known to have pools. */
    private final Set<Optional<String>> owners = ConcurrentHashMap.newKeySet();

    private final ScheduledThreadPoolExecutor workers;
    private volatile Admission admission = new Admission() {
        @Override
        public <T> T admit(Pool pool, Snapshot snapshot, int count, Call call, Supplier<T> job) {
            return job.get();
        }
    };

    Pools(Path root, Engine engine, Sandboxes sandboxes, PausedSandboxes paused, SnapshotStore store, Resets resets) {
        this.root = root;
        this.engine = engine;
        this.sandboxes = sandboxes;
        this.paused = paused;
        this.store = store;
        this.resets = resets;
        workers = new ScheduledThreadPoolExecutor(WORKERS, job -> {
            Thread thread = new Thread(job, "pools");
            thread.setDaemon(true);
            return thread;
        });
        workers.setKeepAliveTime(10, TimeUnit.SECONDS);
        workers.allowCoreThreadTimeOut(true);
        workers.setRemoveOnCancelPolicy(true);
        sandboxes.events().listen(this::hear);
    }

    /** Of one that was ready there may be one less; and what is made of a tag may have become something else. */
    private void hear(Events.Event event) {
        switch (event.kind()) {
            case ENDED -> owners.stream().filter(event.owner()::equals).forEach(owner -> fillSoon(owner, SOON_MS));
            case SNAPSHOT_MADE, SNAPSHOT_REMOVED -> owners.forEach(owner -> fillSoon(owner, SOON_MS));
            default -> {}
        }
    }

    /** From now on nothing is made that this does not let through. */
    public void admit(Admission by) {
        admission = by;
    }

    /**
     * Has all pools be kept full, those of other processes and of earlier ones, too, until this is closed. Without it
     * those are that are used here.
     */
    public AutoCloseable keepFull() {
        var unused = workers.scheduleWithFixedDelay(this::fillAll, 0, LOOK_SECS, TimeUnit.SECONDS);
        return () -> {
            workers.shutdownNow();
            workers.awaitTermination(USES_END.toMillis(), TimeUnit.MILLISECONDS);
        };
    }

    private void fillAll() {
        try {
            readAll();
            owners.forEach(owner -> fillSoon(owner, 0));
            if (owners.isEmpty()) {
                endForsaken(false); // What is left of the last one.
            }
        } catch (RuntimeException e) { // whatever it is: there would be no next look
            // That may be able to.
        }
    }

    /** Makes a pool, or has it be another from now on. Returns before its sandboxes are there. */
    public Status put(String name, int size, SpawnRequest like, Call call) {
        store.read(like.tag(), call.owner());
        byte[] random = new byte[8];
        new SecureRandom().nextBytes(random);
        Pool wanted = new Pool(name, call.owner(), size, like, HexFormat.of().formatHex(random));
        Path file = file(key(wanted));
        try {
            Path folder = folder(call.owner());
            Files.createDirectories(folder);
            try (FileLock alone = FileLock.exclusive(root.resolve(".lock"))) {
                if (!Files.exists(file)
                        && Trees.list(folder).stream()
                                        .filter(entry -> Naming.isName(String.valueOf(entry.getFileName())))
                                        .count()
                                >= MOST) {
                    throw new ForkdException(Kind.CONFLICT, "there are " + MOST + " pools already, which is the most");
                }
                Pool made = tryRead(key(wanted))
                        .filter(wanted::isLike)
                        .map(there -> new Pool(name, there.owner(), size, like, there.definition()))
                        .orElse(wanted);
                Path staged = Trees.staged(file);
                Files.deleteIfExists(staged);
                Trees.writeNew(staged, made.encode());
                Trees.rename(staged, file);
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
        owners.add(call.owner());
        problems.remove(key(wanted));
        fillSoon(call.owner(), 0);
        return find(call.owner(), name);
    }

    private Path folder(Optional<String> owner) {
        return root.resolve(owner.orElse(NOBODY));
    }

    private Path file(Key key) {
        return folder(key.owner()).resolve(key.name());
    }

    /** Empty also for one that is damaged, which is written anew. */
    private Optional<Pool> tryRead(Key key) {
        try {
            return read(key);
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    private Optional<Pool> read(Key key) {
        if (!Naming.isName(key.name())) {
            return Optional.empty();
        }
        Path file = file(key);
        try {
            return Optional.of(Pool.decode(file, key.owner(), Files.readAllBytes(file)));
        } catch (NoSuchFileException e) {
            return Optional.empty();
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
    }

    private Pool existing(Optional<String> owner, String name) {
        return read(new Key(owner, name))
                .orElseThrow(() -> new ForkdException(Kind.NOT_FOUND, "there is no pool '" + name + "'"));
    }

    /** All that can be read. */
    private List<Pool> readAll() {
        try {
            List<Pool> all = new ArrayList<>();
            for (Path folder : Trees.list(root)) {
                String user = String.valueOf(folder.getFileName());
                if (Files.isDirectory(folder)) {
                    Optional<String> owner = user.equals(NOBODY) ? Optional.empty() : Optional.of(user);
                    for (Path file : Trees.list(folder)) {
                        tryRead(new Key(owner, String.valueOf(file.getFileName())))
                                .ifPresent(all::add);
                    }
                }
            }
            all.forEach(pool -> owners.add(pool.owner()));
            return all;
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    /** All of all, by user and name. */
    public List<Status> list() {
        List<Pool> all = readAll();
        List<Membership> members = members().map(Pools::member).toList();
        return all.stream().map(pool -> status(pool, members)).toList();
    }

    public Status find(Optional<String> owner, String name) {
        return status(existing(owner, name), members().map(Pools::member).toList());
    }

    private Status status(Pool pool, List<Membership> members) {
        Map<State, Long> count = members.stream()
                .filter(pool::has)
                .collect(Collectors.groupingBy(Membership::state, Collectors.counting()));
        int present = Math.toIntExact(count.getOrDefault(State.READY, 0L));
        return new Status(
                pool,
                present,
                Math.toIntExact(count.getOrDefault(State.TAKEN, 0L)),
                Optional.ofNullable(problems.get(key(pool))).filter(why -> present < pool.size()));
    }

    /** Those that are of pools, in whatever state. */
    private Stream<Sandbox> members() {
        return sandboxes.list().stream()
                .filter(Known.class::isInstance)
                .map(found -> ((Known) found).sandbox())
                .filter(sandbox -> sandbox.pool().isPresent());
    }

    private static Membership member(Sandbox sandbox) {
        return sandbox.pool().orElseThrow();
    }

    /** Those that are ready in it. */
    private List<Sandbox> ready(Pool pool) {
        return members()
                .filter(sandbox -> pool.has(member(sandbox)) && member(sandbox).is(State.READY))
                .toList();
    }

    /** Removes a pool, and ends those that are ready in it; those that have been taken go on. */
    public void delete(Optional<String> owner, String name) {
        if (!Naming.isName(name)) {
            existing(owner, name);
        }
        Key key = new Key(owner, name);
        try (FileLock alone = FileLock.exclusive(root.resolve(".lock"))) {
            if (!Files.deleteIfExists(file(key))) {
                existing(owner, name);
            }
            Trees.sync(folder(owner));
        } catch (NoSuchFileException e) {
            existing(owner, name);
        } catch (IOException e) {
            throw ForkdException.of("remove " + file(key), e);
        }
        ready.remove(key);
        problems.remove(key);
        awaitFilled(key);
        endForsaken(true);
    }

    /** What is being made for it would come after those that are ended. */
    private void awaitFilled(Key key) {
        Path file = filling(key);
        try (FileLock alone = FileLock.exclusive(file)) {
            if (tryRead(key).isEmpty()) {
                Files.deleteIfExists(file);
            }
        } catch (IOException | ForkdException e) {
            // Who makes them ends them.
        }
    }

    /** Locked by who fills it. */
    private Path filling(Key key) {
        return folder(key.owner()).resolve("." + key.name() + ".fill");
    }

    /**
     * One that is ready, at once; when there is none, one that is forked now.
     *
     * @param naming over the labels that the pool has for all
     */
    public Sandbox take(Optional<String> owner, String name, Naming naming, Call call) {
        Pool pool = existing(owner, name);
        Map<String, String> labels = new TreeMap<>(pool.like().naming().labels());
        labels.putAll(naming.labels());
        Naming called = naming.labelled(labels);
        Sandbox taken = takeReady(pool, called)
                .orElseGet(() -> made(
                                pool, pool.like().living(pool.like().lifetime()).called(called), 1, State.TAKEN, call)
                        .get(0));
        owners.add(owner);
        fillSoon(owner, SOON_MS);
        sandboxes.events().happened(Events.Kind.TAKEN, taken.id(), owner, name);
        return taken;
    }

    private Optional<Sandbox> takeReady(Pool pool, Naming naming) {
        Queue<String> known = ready.computeIfAbsent(key(pool), key -> new ConcurrentLinkedQueue<>());
        for (String id = known.poll(); id != null; id = known.poll()) {
            Optional<Sandbox> taken = take(pool, id, naming);
            if (taken.isPresent()) {
                return taken;
            }
        }
        // There may be some that others have made, or given back.
        for (Sandbox sandbox : ready(pool)) {
            Optional<Sandbox> taken = take(pool, sandbox.id(), naming);
            if (taken.isPresent()) {
                return taken;
            }
        }
        return Optional.empty();
    }

    /** Empty when it is not to be had any more, or somebody is at it. */
    private Optional<Sandbox> take(Pool pool, String id, Naming naming) {
        try (PausedSandboxes.Alone alone = paused.tryLock(id).orElse(null)) {
            if (alone == null || !isReady(pool, id)) {
                return Optional.empty();
            }
            Lifetime lifetime = pool.like().lifetime().begun(Instant.now());
            Supplier<Sandbox> write = () -> sandboxes.changeAlone(
                    id,
                    sandbox ->
                            sandbox.withPool(State.TAKEN).withLifetime(lifetime).withNaming(naming));
            Sandbox taken = naming.name().isPresent()
                    ? sandboxes.names().take(pool.owner(), naming.name().get(), id, write)
                    : write.get();
            if (lifetime.freeze().isPresent()) {
                freezeOrLeave(taken, lifetime);
            }
            // One that has ended meanwhile is as it was before.
            return Optional.of(taken).filter(sandbox -> !sandbox.isPools() && sandboxes.isThere(sandbox));
        } catch (ForkdException e) {
            if (e.kind() == Kind.NOT_FOUND) {
                return Optional.empty(); // It has ended.
            }
            hint(pool, id);
            throw e; // Its name is another's.
        }
    }

    /** Who asked for one that is not told does not hear of it: so nobody has it. */
    private void freezeOrLeave(Sandbox taken, Lifetime lifetime) {
        try {
            engine.freeze(taken, lifetime);
        } catch (ForkdException e) {
            tryLeave(taken.id());
            fillSoon(Sandboxes.owner(taken.directory()), SOON_MS);
            throw e;
        }
    }

    private void hint(Pool pool, String id) {
        ready.computeIfAbsent(key(pool), key -> new ConcurrentLinkedQueue<>()).add(id);
    }

    private boolean isReady(Pool pool, String id) {
        return sandboxes.findAny(id) instanceof Running running
                && running.sandbox()
                        .pool()
                        .filter(member -> pool.has(member) && member.is(State.READY))
                        .isPresent();
    }

    /**
     * Gives one back that was taken: it is reset, and ready again. One that cannot be reset is ended, and so is one when no
     * pool of that definition is there any more. Of those that are more than it has room for the newest are ended soon.
     */
    public void giveBack(String id, Call call) {
        Optional<String> owner = Sandboxes.owner(sandboxes.findAny(id).directory());
        Optional<Pool> pool;
        boolean isReady;
        try (PausedSandboxes.Alone alone = paused.lockSoon(id)) {
            Found found = sandboxes.findAny(id);
            Membership member = taken(found);
            pool = tryRead(new Key(owner, member.pool())).filter(there -> there.has(member));
            isReady = found instanceof Running running
                    && pool.isPresent()
                    && putBack(pool.get(), running.sandbox(), call);
            if (!isReady) {
                tryLeave(id);
            }
        }
        if (!isReady) {
            end(id, "given back to its pool", call);
        }
        sandboxes
                .events()
                .happened(
                        Events.Kind.GIVEN_BACK, id, owner, pool.map(Pool::name).orElse(""));
        if (pool.isPresent()) {
            owners.add(owner);
            // It may have been removed while this one became ready.
            if (tryRead(key(pool.get())).filter(pool.get()::isLike).isEmpty()) {
                endForsaken(false);
            }
            fillSoon(owner, SOON_MS);
        }
    }

    /** Has nobody take or use it any more, for who has it alone. */
    private void tryLeave(String id) {
        try {
            sandboxes.changeAlone(id, one -> one.withPool(State.RETURNING));
        } catch (ForkdException e) {
            // It has ended.
        }
    }

    private static Membership taken(Found found) {
        Optional<Membership> member =
                found instanceof Known known ? known.sandbox().pool() : Optional.empty();
        return member.filter(one -> one.is(State.TAKEN))
                .orElseThrow(() -> new ForkdException(
                        Kind.CONFLICT,
                        "the sandbox '" + found.id() + "' "
                                + (member.isPresent()
                                        ? "is not taken of the pool '"
                                                + member.get().pool() + "'"
                                        : "was taken of no pool")));
    }

    /** Whether it is ready again; what is not is to be ended. */
    private boolean putBack(Pool pool, Sandbox sandbox, Call call) {
        String id = sandbox.id();
        try {
            if (isOtherwise(pool, sandbox)) {
                return false;
            }
            // From here on nobody begins to use it.
            sandboxes.changeAlone(
                    id,
                    one -> one.withPool(State.RETURNING)
                            .withLifetime(Lifetime.ENDLESS)
                            .withNaming(Naming.NONE));
            sandboxes.releaseName(sandbox);
            resetAlone(sandbox, call);
            if (sandbox.lifetime().freeze().isPresent()) {
                engine.freeze(sandbox, Lifetime.ENDLESS);
            }
            sandboxes.changeAlone(id, one -> one.withPool(State.READY));
            hint(pool, id);
            return true;
        } catch (ForkdException e) {
            call.step("the sandbox " + id + " is ended instead of being given back: " + e.sentence());
            return false;
        }
    }

    /** Whether one of the pool would not be what this is when it has been reset. */
    private boolean isOtherwise(Pool pool, Sandbox sandbox) {
        Snapshot snapshot = store.read(pool.like().tag());
        NetworkPolicy policy =
                pool.like().network().of(snapshot, pool.owner()).policy().orElse(NetworkPolicy.INTERNET);
        return !sandbox.snapshot().equals(Servers.origin(snapshot))
                || sandbox.network().filter(other -> !other.equals(policy)).isPresent();
    }

    /** What is open to its guest ends with that; and when the last who used it is done, nothing of his is in it. */
    private void resetAlone(Sandbox sandbox, Call call) {
        Path used = Lifetimes.used(sandbox.directory());
        try (FileLock alone = FileLock.tryExclusive(used).orElse(null)) {
            resets.reset(sandbox, call);
            if (alone != null) {
                return;
            }
        } catch (IOException e) {
            throw ForkdException.of("look who uses " + sandbox.id(), e);
        }
        try (FileLock alone = awaitUnused(sandbox, used)) {
            resets.reset(sandbox, call);
        } catch (IOException e) {
            throw ForkdException.of("look who uses " + sandbox.id(), e);
        }
    }

    private static FileLock awaitUnused(Sandbox sandbox, Path used) throws IOException {
        long end = System.nanoTime() + USES_END.toNanos();
        while (System.nanoTime() < end) {
            Optional<FileLock> alone = FileLock.tryExclusive(used);
            if (alone.isPresent()) {
                return alone.get();
            }
            try {
                Thread.sleep(1);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new ForkdException(Kind.FAILED, "interrupted");
            }
        }
        throw new ForkdException(Kind.FAILED, "somebody still uses the sandbox '" + sandbox.id() + "'");
    }

    /** Not to be called by who has it alone: so does who ends one that was paused. */
    private void end(String id, String why, Call call) {
        try {
            sandboxes
                    .kill(List.of(sandboxes.findAny(id)), why, call)
                    .forEach(failure -> failure.ifPresent(e -> {
                        throw e;
                    }));
        } catch (ForkdException e) {
            if (e.kind() != Kind.NOT_FOUND) {
                throw e;
            }
        }
    }

    private void fillSoon(Optional<String> owner, long delay) {
        // One that is under way looks once more when it is done.
        if (due.put(owner, true) == null) {
            schedule(owner, delay);
        }
    }

    private void schedule(Optional<String> owner, long delay) {
        try {
            var unused = workers.schedule(() -> fill(owner), delay, TimeUnit.MILLISECONDS);
        } catch (RejectedExecutionException e) {
            due.remove(owner); // The service ends.
        }
    }

    private void fill(Optional<String> owner) {
        due.put(owner, false);
        long again = -1;
        try {
            List<Pool> its = readAll().stream()
                    .filter(pool -> pool.owner().equals(owner))
                    .toList();
            if (its.isEmpty()) {
                owners.remove(owner);
            }
            for (Pool pool : its) {
                again = Math.max(again, fill(pool));
            }
            endForsaken(false);
        } catch (RuntimeException e) { // whatever it is: it would never be filled again
            again = AGAIN_MS;
        }
        if (again >= 0) {
            due.put(owner, true);
        }
        if (!due.remove(owner, false)) {
            schedule(owner, Math.max(again, SOON_MS));
        }
    }

    /** After how many ms it is to be looked at again; negative when it is full. */
    private long fill(Pool pool) {
        Key key = key(pool);
        try (FileLock alone = FileLock.tryExclusive(filling(key)).orElse(null)) {
            if (alone == null) {
                return AGAIN_MS; // Another process is at it.
            }
            if (!read(key).equals(Optional.of(pool))) {
                return 0; // It is another by now, or gone.
            }
            Snapshot snapshot = store.read(pool.like().tag(), pool.owner());
            List<Sandbox> there = ready(pool).stream()
                    .filter(sandbox -> sandbox.snapshot().equals(Servers.origin(snapshot)))
                    .toList();
            int missing = pool.size() - there.size();
            if (missing > 0) {
                int count = problems.containsKey(key) ? 1 : Math.min(missing, AT_ONCE);
                Call call = new Call(new Silent(), Optional.of(MAKING));
                call.setOwner(pool.owner());
                made(pool, pool.like().living(Lifetime.ENDLESS).called(Naming.NONE), count, State.READY, call)
                        .forEach(sandbox -> hint(pool, sandbox.id()));
                problems.remove(key);
                return missing > count ? 0 : -1;
            }
            problems.remove(key);
            return -1;
        } catch (IOException e) {
            problems.put(
                    key, ForkdException.of("fill the pool " + pool.name(), e).sentence());
            return AGAIN_MS;
        } catch (ForkdException e) {
            return failed(key, e.sentence());
        } catch (RuntimeException e) {
            return failed(key, String.valueOf(e.getMessage())); // It was not admitted.
        }
    }

    /** What could not be made at once may be one by one. */
    private long failed(Key key, String why) {
        return problems.put(key, why) == null ? 0 : AGAIN_MS;
    }

    private List<Sandbox> made(Pool pool, SpawnRequest like, int count, State state, Call call) {
        Snapshot snapshot = store.read(pool.like().tag(), pool.owner());
        return admission.admit(
                pool,
                snapshot,
                count,
                call,
                () -> engine.spawn(like.counting(count).in(pool.member(state)), snapshot, call));
    }

    /**
     * Ends those that nobody has and no pool wants: its definition is another, or gone, or what it makes, or it has twice
     * as many as it is to have; and those of which who gave them back was killed.
     *
     * @param waits until those have ended, too, that somebody else is at
     */
    private void endForsaken(boolean waits) {
        // Before what there is to be: what is made of a new one meanwhile is not among them.
        List<Sandbox> all = members().filter(Sandbox::isPools).toList();
        Map<String, Pool> pools =
                readAll().stream().collect(Collectors.toMap(Pool::definition, pool -> pool, (a, b) -> a));
        Map<String, List<Sandbox>> by = all.stream()
                .collect(Collectors.groupingBy(sandbox -> member(sandbox).definition()));
        by.forEach((definition, its) -> unwanted(Optional.ofNullable(pools.get(definition)), its)
                .forEach(sandbox -> endUnlessTaken(sandbox, waits)));
    }

    private Stream<Sandbox> unwanted(Optional<Pool> pool, List<Sandbox> all) {
        if (pool.isEmpty()) {
            return all.stream();
        }
        Optional<Origin> origin;
        try {
            origin = Optional.of(Servers.origin(
                    store.read(pool.get().like().tag(), pool.get().owner())));
        } catch (ForkdException e) {
            if (e.kind() != Kind.NOT_FOUND) {
                return Stream.empty();
            }
            origin = Optional.empty();
        }
        Optional<Origin> present = origin;
        Map<Boolean, List<Sandbox>> split = all.stream()
                .collect(Collectors.partitioningBy(sandbox -> pool.get().has(member(sandbox))
                        && member(sandbox).is(State.READY)
                        && present.equals(Optional.of(sandbox.snapshot()))));
        return Stream.concat(
                split.getOrDefault(false, List.of()).stream(),
                split.getOrDefault(true, List.of()).stream()
                        .skip(2L * pool.get().size()));
    }

    private void endUnlessTaken(Sandbox sandbox, boolean waits) {
        String id = sandbox.id();
        try {
            try (PausedSandboxes.Alone alone =
                    waits ? paused.lockSoon(id) : paused.tryLock(id).orElse(null)) {
                if (alone == null
                        || !(sandboxes.findAny(id) instanceof Known known)
                        || !known.sandbox().isPools()) {
                    return; // Somebody takes it, or gives it back.
                }
                tryLeave(id);
            }
            end(id, "its pool has no use for it", new Call(new Silent(), Optional.empty()));
        } catch (ForkdException e) {
            // It has ended, or the next look tries again.
        }
    }

    /** Nobody waits for it. */
    private static final class Silent implements Progress {
        @Override
        public void step(String what) {}

        @Override
        public void warn(String what, Remedy remedy) {}
    }
}
