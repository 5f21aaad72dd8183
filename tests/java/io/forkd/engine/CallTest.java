package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Operations that would wait for ever: they are cancelled, or may not take so long. */
class CallTest {
    private World world;
    private Sandbox sandbox;

    /** What hangs, and in what. */
    private enum Wait {
        PARENT_COMES_UP(Step.BOOT) {
            @Override
            void run(World world, Sandbox sandbox, Call call) {
                world.engine.snapshot(world.booting("new", false), call);
            }
        },
        PARENT_IS_WRITTEN(Step.SNAPSHOT) {
            @Override
            void run(World world, Sandbox sandbox, Call call) {
                world.engine.snapshot(world.booting("new", false), call);
            }
        },
        CHILD_COMES_UP(Step.FORK) {
            @Override
            void run(World world, Sandbox sandbox, Call call) {
                try (Fork fork = world.engine.fork(World.forking("base", 3), call)) {
                    fork.awaitReady(child -> {});
                }
            }
        },
        SANDBOX_COMES_UP(Step.FORK) {
            @Override
            void run(World world, Sandbox sandbox, Call call) {
                world.engine.spawn(World.spawning("base", 3), call);
            }
        },
        COMMAND_ENDS(Step.AGENT) {
            @Override
            void run(World world, Sandbox sandbox, Call call) {
                world.engine.diff(World.changing("base", "new", "changed", false), call);
            }
        },
        BRANCH_IS_WRITTEN(Step.WRITE) {
            @Override
            void run(World world, Sandbox sandbox, Call call) {
                world.engine.branch(World.branching(sandbox.id(), "new", false, false), call);
            }
        };

        private final Step hangs;

        Wait(Step hangs) {
            this.hangs = hangs;
        }

        abstract void run(World world, Sandbox sandbox, Call call);
    }

    @BeforeEach
    void make() throws Exception {
        world = new World();
        world.engine.snapshot(world.booting("base", false), World.call());
        sandbox = world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
    }

    @AfterEach
    void end() throws Exception {
        world.close();
    }

    /** What it says when it has ended, after {@code whenItHangs}. */
    private String outcome(Wait wait, Call call, Runnable whenItHangs) throws Exception {
        CountDownLatch hangs = new CountDownLatch(1);
        world.vmm.plan((number, step) -> {
            if (step != wait.hangs) {
                return Fault.NONE;
            }
            hangs.countDown();
            return Fault.HANGS;
        });
        CompletableFuture<String> outcome = CompletableFuture.supplyAsync(() -> {
            try {
                wait.run(world, sandbox, call);
                return "done";
            } catch (ForkdException e) {
                return Thread.interrupted() ? "the thread is interrupted" : e.sentence();
            }
        });
        assertThat(hangs.await(30, TimeUnit.SECONDS)).isTrue();
        whenItHangs.run();
        String said = outcome.get(30, TimeUnit.SECONDS);
        world.vmm.plan((number, step) -> Fault.NONE);
        return said;
    }

    private void assertNothingLeft(Wait wait) throws Exception {
        Set<String> tags = new TreeSet<>(Set.of("base"));
        if (wait == Wait.BRANCH_IS_WRITTEN) {
            // The twin goes on; who ends it is rmi.
            assertThat(world.vmm.servers()).isPositive();
            world.remove("new");
        }
        world.assertLeft(tags, Set.of(sandbox.id()));
        wait.run(world, sandbox, World.call());
    }

    @Execution(ExecutionMode.CONCURRENT)
    @ParameterizedTest
    @EnumSource
    void what_is_cancelled_ends_and_leaves_nothing(Wait wait) throws Exception {
        Call call = World.call();
        assertThat(outcome(wait, call, call::cancel)).contains("interrupted");
        assertNothingLeft(wait);
    }

    @Execution(ExecutionMode.CONCURRENT)
    @ParameterizedTest
    @EnumSource
    void what_takes_longer_than_it_may_ends_and_leaves_nothing(Wait wait) throws Exception {
        Call call = new Call(new Silence(), Optional.of(Duration.ofSeconds(1)));
        assertThat(outcome(wait, call, () -> {})).contains("it took longer than 1 s");
        assertNothingLeft(wait);
    }

    @Execution(ExecutionMode.CONCURRENT)
    @ParameterizedTest
    @EnumSource
    void what_is_cancelled_before_it_begins_does_not_hang(Wait wait) throws Exception {
        Call call = World.call();
        call.cancel();
        world.vmm.plan((number, step) -> step == wait.hangs ? Fault.HANGS : Fault.NONE);
        assertThatThrownBy(() -> wait.run(world, sandbox, call))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("interrupted");
        world.vmm.plan((number, step) -> Fault.NONE);
        assertNothingLeft(wait);
    }

    @Test
    void what_is_told_of_a_cancellation_may_wait_for_who_looks_at_the_call() throws Exception {
        Call call = new Call(new Silence(), Optional.empty());
        CountDownLatch looked = new CountDownLatch(1);
        call.onCancel(() -> {
            new Thread(() -> call.onCancel(looked::countDown)).start();
            try {
                assertThat(looked.await(20, TimeUnit.SECONDS)).isTrue();
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        });
        call.cancel();
        assertThat(looked.getCount()).isZero();
    }
}
