package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.FileLock;
import io.forkd.vmm.MemoryVmm.Fault;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What a snapshot is needed for, while somebody else removes it by force: at every step, one at a time. */
class RemovalTest {
    /** What needs {@code base}, of a world with a layer {@code layer} over it and a sandbox of each. */
    private enum Operation {
        SPAWN("base") {
            @Override
            void run(World world, Call call) {
                world.engine.spawn(World.spawning("base", 1), call);
            }
        },
        SPAWN_OF_LAYER("base") {
            @Override
            void run(World world, Call call) {
                world.engine.spawn(World.spawning("layer", 1), call);
            }
        },
        BRANCH_OF_LAYER("base") {
            @Override
            void run(World world, Call call) {
                world.engine.branch(World.branching(world.sandboxes().get(0), "new", true, false), call);
            }
        },
        DIFF_OF_LAYER("base") {
            @Override
            void run(World world, Call call) {
                world.engine.diff(World.changing("layer", "new", "changed", false), call);
            }
        },
        COMPACT("base") {
            @Override
            void run(World world, Call call) {
                world.engine.snapshots().compact(World.tag("layer"), World.tag("new"), call);
            }
        },
        COMPACT_ONE_THAT_GOES("layer") {
            @Override
            void run(World world, Call call) {
                world.engine.snapshots().compact(World.tag("layer"), World.tag("new"), call);
            }
        };

        private final String goes;

        Operation(String goes) {
            this.goes = goes;
        }

        abstract void run(World world, Call call);
    }

    /** The steps of an operation, at one of which the snapshot goes. */
    private static final class Steps implements Progress {
        private final World world;
        private final Engine beside;
        private final String goes;
        private final int last;
        private int count;

        Steps(World world, String goes, int last) {
            this.world = world;
            this.beside = world.beside();
            this.goes = goes;
            this.last = last;
        }

        synchronized Fault next() {
            count++;
            try {
                // Whoever has that keeps it where it is.
                if (count == last && !FileLock.isHeld(beside.store().root().resolve(".lock"))) {
                    beside.snapshots().remove(World.tag(goes), true);
                }
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            return Fault.NONE;
        }

        @Override
        public void step(String what) {
            next();
        }

        @Override
        public void warn(String what, Remedy remedy) {}

        boolean isOver() {
            return count < last;
        }

        void take(Operation operation) {
            world.vmm.plan((number, step) -> next());
            operation.run(world, new Call(this, Optional.empty()));
        }
    }

    @Execution(ExecutionMode.CONCURRENT)
    @ParameterizedTest
    @EnumSource
    void removal_in_the_midst_is_told_as_such(Operation operation) throws IOException {
        List<String> wrong = new ArrayList<>();
        boolean over = false;
        for (int at = 1; !over; at++) {
            try (World world = new World()) {
                world.engine.snapshot(world.booting("base", false), World.call());
                world.engine.diff(World.changing("base", "layer", "changed", false), World.call());
                world.engine.spawn(World.spawning("base", 1), World.call());
                Steps steps = new Steps(world, operation.goes, at);
                try {
                    steps.take(operation);
                } catch (ForkdException e) {
                    boolean notFound = e.kind() == Kind.NOT_FOUND
                            && e.sentence().contains("there is no snapshot '" + operation.goes);
                    if (e.kind() != Kind.CONFLICT && !notFound) {
                        wrong.add("at step " + at + ": " + e.kind() + ": " + e.sentence());
                    }
                }
                over = steps.isOver();
            }
        }
        assertThat(wrong).isEmpty();
    }
}
