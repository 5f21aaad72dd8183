package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Trees;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Membership;
import io.forkd.sandbox.Membership.State;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Sandboxes that are kept ready: taken, given back, and by several at once. */
class PoolsTest {
    private static final Optional<String> NOBODY = Optional.empty();

    private World world;
    private AutoCloseable followed;
    private AutoCloseable kept;

    @BeforeEach
    void begin() throws IOException {
        world = new World();
        world.engine.snapshot(world.booting("base", false), World.call());
        followed = world.engine.follow();
        kept = world.engine.pools().keepFull();
    }

    @AfterEach
    void end() throws Exception {
        kept.close();
        followed.close();
        world.close();
    }

    private Pools pools() {
        return world.engine.pools();
    }

    private void put(int size) {
        put(size, World.spawning("base", 1));
    }

    private void put(int size, SpawnRequest like) {
        pools().put("web", size, like, World.call());
    }

    private Sandbox take() {
        return pools().take(NOBODY, "web", Naming.NONE, World.call());
    }

    private Pools.Status status() {
        return pools().find(NOBODY, "web");
    }

    private List<Sandbox> in(State state) {
        return world.engine
                .sandboxes()
                .known()
                .filter(sandbox -> sandbox.pool().map(Membership::state).equals(Optional.of(state)))
                .toList();
    }

    private static void await(String what, BooleanSupplier done) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (!done.getAsBoolean()) {
            assertThat(System.nanoTime()).as(what).isLessThan(end);
            try {
                Thread.sleep(2);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    /** What others end meanwhile is gone a moment later. */
    private void awaitLeft(Set<String> snapshots, Collection<String> ids) throws IOException {
        Path folders = world.engine.runtime().root().resolve("sandboxes");
        await("others' folders are gone", () -> {
            try {
                return Trees.list(folders).stream()
                                .filter(entry -> Sandbox.isId(String.valueOf(entry.getFileName())))
                                .count()
                        == ids.size();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
        world.assertLeft(snapshots, ids);
    }

    private void awaitReady(int count) {
        await(
                count + " are ready",
                () -> status().ready() == count && in(State.RETURNING).isEmpty());
    }

    private void giveBack(Sandbox sandbox) {
        pools().giveBack(sandbox.id(), World.call());
    }

    private static <T> List<T> together(int count, Callable<T> job) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(count);
        try {
            List<T> results = new ArrayList<>();
            for (Future<T> each : threads.invokeAll(
                    IntStream.range(0, count).mapToObj(i -> job).toList())) {
                results.add(each.get());
            }
            return results;
        } finally {
            threads.shutdownNow();
        }
    }

    private static void assertConflict(ThrowingCallable job) {
        assertThatThrownBy(job)
                .asInstanceOf(InstanceOfAssertFactories.type(ForkdException.class))
                .extracting(ForkdException::kind)
                .isEqualTo(Kind.CONFLICT);
    }

    @Test
    void so_many_are_ready_and_what_is_taken_is_made_again() {
        put(3);
        awaitReady(3);
        List<String> before = in(State.READY).stream().map(Sandbox::id).toList();
        Sandbox taken = take();
        assertThat(before).contains(taken.id());
        awaitReady(3);
        assertThat(status().taken()).isEqualTo(1);
        World.set(taken, "worked");
        assertThat(World.text(taken.vsock())).isEqualTo("worked");
    }

    @Test
    void what_is_ready_is_not_for_use() {
        put(1);
        awaitReady(1);
        String id = in(State.READY).get(0).id();
        assertConflict(() -> world.engine.use(id, World.call()));
        assertConflict(() -> world.engine.reset(id, World.call()));
        assertConflict(() -> world.engine.pause(id, World.call()));
        assertConflict(() -> world.engine.rename(id, Optional.of("mine")));
        assertConflict(() -> world.engine.label(id, Map.of("a", Optional.of("b"))));
        assertConflict(() -> world.engine.setLifetime(id, Lifetime.ENDLESS));
        assertConflict(() -> world.engine.fork(id, World.spawning("base", 1), World.call()));
        assertConflict(() -> world.engine.branch(World.branching(id, "new", false, true), World.call()));
        assertConflict(() -> pools().giveBack(id, World.call()));
        assertThat(take().id()).isEqualTo(id);
        world.engine.use(id, World.call()).close();
    }

    @Test
    void what_is_given_back_is_as_it_was_made() throws Exception {
        Lifetime lifetime = Lifetime.of(Optional.of(Duration.ofHours(1)), Optional.empty(), false, false);
        put(1, World.spawning("base", 1).living(lifetime).called(new Naming(NOBODY, Map.of("tier", "one"))));
        awaitReady(1);
        Sandbox ready = in(State.READY).get(0);
        assertThat(ready.lifetime()).isEqualTo(Lifetime.ENDLESS);
        assertThat(ready.naming()).isEqualTo(Naming.NONE);
        String first = World.text(ready.vsock());

        Sandbox taken = pools().take(NOBODY, "web", new Naming(Optional.of("mine"), Map.of("who", "me")), World.call());
        assertThat(taken.id()).isEqualTo(ready.id());
        assertThat(taken.lifetime().ttl()).contains(Duration.ofHours(1));
        assertThat(taken.naming().labels()).isEqualTo(Map.of("tier", "one", "who", "me"));
        assertThat(world.engine.sandboxes().id(NOBODY, "mine")).isEqualTo(taken.id());
        World.set(taken, "worked");
        giveBack(taken);

        Sandbox back = in(State.READY).stream()
                .filter(one -> one.id().equals(taken.id()))
                .findFirst()
                .orElseThrow();
        assertThat(back).isEqualTo(ready);
        assertThat(World.text(back.vsock())).isEqualTo(first);
        assertThat(world.engine.sandboxes().id(NOBODY, "mine")).isEqualTo("mine");
        assertConflict(() -> giveBack(taken));
    }

    @Test
    void name_that_is_taken_leaves_the_sandbox_ready() {
        put(1);
        awaitReady(1);
        world.engine.spawn(World.spawning("base", 1).called(new Naming(Optional.of("mine"), Map.of())), World.call());
        assertConflict(() -> pools().take(NOBODY, "web", new Naming(Optional.of("mine"), Map.of()), World.call()));
        assertThat(status().ready()).isEqualTo(1);
        assertThat(in(State.TAKEN)).isEmpty();
    }

    @Test
    void takes_at_once_get_different_ones_whether_there_are_enough_or_not() throws Exception {
        put(4);
        awaitReady(4);
        List<String> ids = together(16, () -> take().id());
        assertThat(ids).doesNotHaveDuplicates();
        awaitReady(4);
        assertThat(status().taken()).isEqualTo(16);
    }

    @Test
    void of_what_is_given_back_so_many_more_stay() throws Exception {
        put(2);
        awaitReady(2);
        List<Sandbox> taken = together(8, this::take);
        awaitReady(2);
        for (Sandbox each : taken) {
            giveBack(each);
        }
        awaitReady(4);
        assertThat(status().taken()).isZero();
        awaitLeft(Set.of("base"), in(State.READY).stream().map(Sandbox::id).toList());
    }

    @Test
    void of_more_than_there_is_room_for_the_newest_are_ended() {
        put(1);
        awaitReady(1);
        Sandbox first = take();
        awaitReady(1);
        Sandbox second = take();
        awaitReady(1);
        giveBack(first);
        giveBack(second);
        awaitReady(2);
        assertThat(in(State.READY).stream().map(Sandbox::id)).containsExactlyInAnyOrder(first.id(), second.id());
    }

    @Test
    void what_is_deleted_while_others_take_leaves_what_they_have() throws Exception {
        for (int i = 0; i < 5; i++) {
            put(4);
            awaitReady(4);
            AtomicBoolean first = new AtomicBoolean(true);
            List<Optional<Sandbox>> all = together(6, () -> {
                try {
                    if (first.compareAndSet(true, false)) {
                        pools().delete(NOBODY, "web");
                        return Optional.empty();
                    }
                    return Optional.of(take());
                } catch (ForkdException e) {
                    assertThat(e.kind()).isEqualTo(Kind.NOT_FOUND);
                    return Optional.empty();
                }
            });
            List<Sandbox> had = all.stream().flatMap(Optional::stream).toList();
            await("those that were ready have ended", () -> world.sandboxes().size() == had.size());
            for (Sandbox each : had) {
                World.set(each, "mine");
                giveBack(each); // There is nothing to give it back to.
            }
            assertThat(world.sandboxes()).isEmpty();
        }
        awaitLeft(Set.of("base"), Set.of());
    }

    @Test
    void what_is_deleted_while_it_is_filled_leaves_nothing() throws Exception {
        for (int i = 0; i < 10; i++) {
            put(10);
            Thread.sleep(i);
            pools().delete(NOBODY, "web");
            assertThat(world.sandboxes()).isEmpty();
        }
        awaitLeft(Set.of("base"), Set.of());
    }

    @Test
    void what_is_killed_while_it_is_given_back_has_ended() throws Exception {
        put(1);
        for (int i = 0; i < 10; i++) {
            awaitReady(1);
            Sandbox taken = take();
            AtomicBoolean first = new AtomicBoolean(true);
            together(2, () -> {
                try {
                    if (first.compareAndSet(true, false)) {
                        world.kill(world.engine, taken.id());
                    } else {
                        giveBack(taken);
                    }
                } catch (ForkdException e) {
                    assertThat(e.kind()).isIn(Kind.NOT_FOUND, Kind.CONFLICT);
                }
                return true;
            });
            await("it has ended", () -> !world.sandboxes().contains(taken.id()));
        }
        awaitReady(1);
        awaitLeft(Set.of("base"), world.sandboxes());
    }

    @Test
    void given_back_twice_at_once_is_given_back_once() throws Exception {
        put(1);
        awaitReady(1);
        Sandbox taken = take();
        awaitReady(1);
        List<Boolean> worked = together(4, () -> {
            try {
                giveBack(taken);
                return true;
            } catch (ForkdException e) {
                assertThat(e.kind()).isEqualTo(Kind.CONFLICT);
                return false;
            }
        });
        assertThat(worked).containsOnlyOnce(true);
        assertThat(status().ready()).isEqualTo(2);
    }

    @Test
    void who_uses_it_while_it_is_given_back_leaves_nothing_in_it() throws Exception {
        put(1);
        awaitReady(1);
        Sandbox taken = take();
        Engine.Use use = world.engine.use(taken.id(), World.call());
        ExecutorService other = Executors.newSingleThreadExecutor();
        try {
            Future<?> given = other.submit(() -> giveBack(taken));
            await("it is being given back", () -> !in(State.RETURNING).isEmpty());
            World.set(taken, "too late"); // He has passed all that would keep him from it.
            use.close();
            given.get(30, TimeUnit.SECONDS);
        } finally {
            other.shutdownNow();
        }
        Sandbox back = in(State.READY).stream()
                .filter(one -> one.id().equals(taken.id()))
                .findFirst()
                .orElseThrow();
        assertThat(World.text(back.vsock())).isNotEqualTo("too late");
    }

    @Test
    void who_does_not_let_go_of_it_has_it_end() {
        put(1);
        awaitReady(1);
        Sandbox taken = take();
        try (Engine.Use use = world.engine.use(taken.id(), World.call())) {
            giveBack(taken);
            assertThat(world.sandboxes()).doesNotContain(use.sandbox().id());
        }
    }

    @Test
    void what_dies_while_it_is_ready_is_not_handed_out() {
        put(3);
        awaitReady(3);
        List<Sandbox> before = in(State.READY);
        before.forEach(ready -> world.vmm.kill(ready.pid(), ready.startTime().orElseThrow()));
        await("that is seen", () -> in(State.READY).stream().noneMatch(before::contains));
        Sandbox taken = take();
        World.set(taken, "alive");
        awaitReady(3);
    }

    @Test
    void what_cannot_be_reset_is_ended_and_replaced() {
        put(1);
        for (Fault fault : new Fault[] {new Fault.Fails(-5), Fault.DIES}) {
            awaitReady(1);
            Sandbox taken = take();
            awaitReady(1);
            world.vmm.plan((number, step) -> step == Step.RESET ? fault : Fault.NONE);
            giveBack(taken);
            world.vmm.plan((number, step) -> Fault.NONE);
            await("it has ended", () -> !world.sandboxes().contains(taken.id()));
            awaitReady(1);
        }
        Sandbox paused = take();
        world.pause(paused.id());
        giveBack(paused);
        assertThat(world.sandboxes()).doesNotContain(paused.id());
        awaitReady(1);
    }

    @Test
    void what_cannot_be_told_to_freeze_when_it_is_taken_is_nobodys_and_ended() {
        put(1, World.spawning("base", 1).living(Lifetime.ENDLESS.freezing(Optional.of(Duration.ofSeconds(5)))));
        awaitReady(1);
        Sandbox ready = in(State.READY).get(0);
        world.vmm.plan((number, step) -> step == Step.FREEZE ? new Fault.Fails(-5) : Fault.NONE);
        assertThatThrownBy(this::take).hasMessageContaining("as planned");
        world.vmm.plan((number, step) -> Fault.NONE);
        await("it has ended", () -> !world.sandboxes().contains(ready.id()));
        awaitReady(1);
        assertThat(status().taken()).isZero();
    }

    @Test
    void snapshot_of_a_pool_is_not_removed_but_by_force_and_the_pool_is_named() {
        put(1);
        awaitReady(1);
        SnapshotTag base = new SnapshotTag("base");
        Snapshots.Removal plan = world.engine.snapshots().planRemoval(List.of(base), false, false);
        assertThat(plan.all()).isEmpty();
        assertThat(plan.refused().get(base))
                .hasMessageContaining("the pools [web]")
                .hasMessageNotContaining("sb-");
    }

    @Test
    void other_process_finds_pool_and_sandboxes() throws Exception {
        put(2);
        awaitReady(2);
        kept.close();
        List<String> ready = in(State.READY).stream().map(Sandbox::id).toList();
        Engine next = world.beside();
        try (AutoCloseable nextFollowed = next.follow();
                AutoCloseable nextKept = next.pools().keepFull()) {
            assertThat(nextFollowed).isNotSameAs(nextKept);
            assertThat(next.pools().find(NOBODY, "web").ready()).isEqualTo(2);
            Sandbox taken = next.pools().take(NOBODY, "web", Naming.NONE, World.call());
            assertThat(ready).contains(taken.id());
            await("it is made again", () -> next.pools().find(NOBODY, "web").ready() == 2);
            // And one that is left of who was killed while he gave it back.
            next.sandboxes().changeAlone(ready.get(0), one -> one.withPool(State.RETURNING));
            next.pools().put("web", 3, World.spawning("base", 1), World.call());
            await("it has ended", () -> !world.sandboxes().contains(ready.get(0)));
            await("three are ready", () -> next.pools().find(NOBODY, "web").ready() == 3);
        }
    }

    @Test
    void restart_of_the_host_loses_the_sandboxes_alone() throws Exception {
        put(2);
        awaitReady(2);
        kept.close();
        followed.close();
        world.restart();
        Engine next = world.beside();
        followed = next.follow();
        kept = next.pools().keepFull();
        await("two are ready", () -> next.pools().find(NOBODY, "web").ready() == 2);
    }

    @Test
    void what_is_not_let_through_is_told_and_made_later() {
        AtomicBoolean open = new AtomicBoolean();
        pools().admit(new Pools.Admission() {
            @Override
            public <T> T admit(Pool pool, Snapshot snapshot, int count, Call call, Supplier<T> job) {
                if (!open.get() && (count > 1 || in(State.READY).size() == 2)) {
                    throw new IllegalStateException("the quota is reached");
                }
                return job.get();
            }
        });
        put(5);
        await(
                "two are ready and why no more is told",
                () -> status().ready() == 2 && status().problem().equals(Optional.of("the quota is reached")));
        open.set(true);
        Sandbox taken = take();
        awaitReady(5);
        assertThat(status().problem()).isEmpty();
        open.set(false);
        giveBack(taken);
        assertThat(status().ready()).isEqualTo(6);
    }

    @Test
    void empty_one_hands_out_one_that_is_forked_now() throws Exception {
        put(1);
        awaitReady(1);
        kept.close(); // Nobody fills it.
        Set<String> ids = Set.of(take().id(), take().id(), take().id());
        assertThat(ids).hasSize(3);
        assertThat(status().taken()).isEqualTo(3);
    }

    @Test
    void another_definition_renews_what_is_ready_and_another_size_does_not() {
        put(2);
        awaitReady(2);
        Sandbox taken = take();
        awaitReady(2);
        List<String> before = in(State.READY).stream().map(Sandbox::id).toList();
        put(1);
        awaitReady(2);
        assertThat(in(State.READY).stream().map(Sandbox::id)).containsExactlyInAnyOrderElementsOf(before);
        put(1, World.spawning("base", 1).called(new Naming(NOBODY, Map.of("a", "b"))));
        await("those of before have ended", () -> world.sandboxes().stream().noneMatch(before::contains));
        awaitReady(1);
        giveBack(taken); // What it is of is no more.
        assertThat(world.sandboxes()).doesNotContain(taken.id());
    }

    @Test
    void snapshot_that_is_replaced_or_removed_takes_along_what_is_ready() {
        put(2);
        awaitReady(2);
        List<String> before = in(State.READY).stream().map(Sandbox::id).toList();
        world.engine.snapshot(world.booting("base", true), World.call());
        await("those of before have ended", () -> world.sandboxes().stream().noneMatch(before::contains));
        awaitReady(2);
        Sandbox taken = take();
        world.remove("base");
        await("those that are ready have ended", () -> world.sandboxes().equals(List.of(taken.id())));
        await("why is told", () -> status().problem().orElse("").contains("base"));
        giveBack(taken);
        assertThat(world.sandboxes()).isEmpty();
    }

    @Test
    void pool_of_one_user_is_not_anothers() {
        Call anna = World.call();
        anna.setOwner(Optional.of("anna"));
        pools().put("web", 1, World.spawning("base", 1), anna);
        assertThatThrownBy(this::take).hasMessageContaining("there is no pool 'web'");
        put(1);
        await("both are full", () -> pools().list().stream().allMatch(each -> each.ready() == 1));
        Sandbox hers = pools().take(Optional.of("anna"), "web", Naming.NONE, World.call());
        assertThat(Sandboxes.owner(hers.directory())).contains("anna");
        pools().delete(NOBODY, "web");
        assertThat(pools().list()).singleElement().satisfies(each -> {
            assertThat(each.pool().owner()).contains("anna");
            assertThat(each.taken()).isEqualTo(1);
        });
    }

    @Test
    void wrong_ones_are_refused() {
        assertThatThrownBy(() -> put(0)).hasMessageContaining("1 to 100");
        assertThatThrownBy(() -> put(101)).hasMessageContaining("1 to 100");
        assertThatThrownBy(() -> pools().put("../web", 1, World.spawning("base", 1), World.call()))
                .hasMessageContaining("is no name of a pool");
        assertThatThrownBy(() -> put(1, World.spawning("absent", 1))).hasMessageContaining("absent");
        assertThatThrownBy(() -> pools().find(NOBODY, "../web")).hasMessageContaining("there is no pool");
        assertThatThrownBy(() -> pools().delete(NOBODY, "web")).hasMessageContaining("there is no pool");
        String id = world.engine
                .spawn(World.spawning("base", 1), World.call())
                .get(0)
                .id();
        assertConflict(() -> pools().giveBack(id, World.call()));
        assertThat(pools().list()).isEmpty();
    }

    @Test
    void so_many_pools_may_be_there_and_no_more() {
        kept = closed(kept); // Only what is written is looked at.
        for (int i = 0; i < Pools.MOST; i++) {
            pools().put("pool" + i, 1, World.spawning("base", 1), World.call());
        }
        assertConflict(() -> put(1));
        pools().put("pool0", 2, World.spawning("base", 1), World.call());
        pools().delete(NOBODY, "pool0");
        put(1);
        assertThat(pools().list()).hasSize(Pools.MOST);
    }

    private static AutoCloseable closed(AutoCloseable open) {
        try {
            open.close();
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
        return () -> {};
    }

    @Test
    void damaged_definition_is_told_and_can_be_written_anew() throws IOException {
        put(1);
        awaitReady(1);
        Files.writeString(world.engine.dataDirectory().resolve("pools/-/web"), "{");
        assertThatThrownBy(this::take).hasMessageContaining("is damaged");
        put(1);
        awaitReady(1);
        assertThat(new SnapshotTag("base")).isEqualTo(status().pool().like().tag());
    }
}
