package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.ForkdException;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Volume;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A sandbox that writes to a volume is without it while it is branched, and only then, whatever goes wrong. */
class BranchVolumesTest {
    private static final int EIO = -5;

    @TempDir
    Path scratch;

    private Path image() throws Exception {
        Path image = scratch.resolve("data.ext4");
        Process mkfs = new ProcessBuilder("mkfs.ext4", "-q", image.toString(), "1M")
                .redirectErrorStream(true)
                .start();
        assertThat(mkfs.waitFor()).isZero();
        return image;
    }

    @Test
    void guest_has_its_volume_back_whatever_goes_wrong() throws Exception {
        try (World world = new World()) {
            List<Volume> volumes = List.of(new Volume(image(), "/data", false));
            world.engine.snapshot(world.booting("base", false, volumes), World.call());
            Sandbox sandbox =
                    world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
            for (boolean cancelled : List.of(false, true)) {
                AtomicBoolean more = new AtomicBoolean(true);
                for (int at = 1; more.get(); at++) {
                    int wrong = at;
                    more.set(false);
                    Call call = World.call();
                    world.vmm.plan((number, step) -> {
                        if (number != wrong) {
                            return Fault.NONE;
                        }
                        more.set(true);
                        if (cancelled) {
                            call.cancel();
                        }
                        return cancelled ? Fault.NONE : new Fault.Fails(EIO);
                    });
                    String said = "done";
                    try {
                        world.engine.branch(World.branching(sandbox.id(), "new", false, true), call);
                    } catch (ForkdException e) {
                        said = e.getMessage();
                    }
                    world.vmm.awaitWriters();
                    List<Step> steps = world.vmm.steps();
                    world.vmm.plan((number, step) -> Fault.NONE);
                    world.engine.sandboxes().sweep(); // as who finds that it could not be mounted
                    assertThat(SandboxVolumes.areAway(sandbox.directory()))
                            .as("away, after " + said + " at step " + at + " of " + steps)
                            .isFalse();
                    assertThat(world.engine.sandboxes().find(sandbox.id()).id()).isEqualTo(sandbox.id());
                }
            }
            world.engine.branch(World.branching(sandbox.id(), "new", false, true), World.call());
            world.assertLeft(List.of("base", "new"), List.of(sandbox.id()));
        }
    }
}
