package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.Vm;
import io.forkd.vmm.VmStatus;
import io.forkd.vmm.VmStatus.Phase;
import io.forkd.vmm.Vmm;
import io.forkd.vmm.VmmException;
import java.time.Duration;
import java.util.Optional;

/** Puts running sandboxes back to what they were forked from, in their place and with their process. */
final class Resets {
    /** How soon a cancellation is noticed. */
    private static final Duration SLICE = Duration.ofMillis(20);

    private final Vmm vmm;
    private final Sandboxes sandboxes;
    private final PausedSandboxes paused;

    Resets(Vmm vmm, Sandboxes sandboxes, PausedSandboxes paused) {
        this.vmm = vmm;
        this.sandboxes = sandboxes;
        this.paused = paused;
    }

    /** Returns when its guest has a new identity. One that does not get it has ended. */
    Sandbox reset(String id, Call call) {
        // Nobody pauses, resumes, changes or ends it meanwhile, nor does who waits for that.
        try (PausedSandboxes.Alone alone = paused.lockSoon(id)) {
            return reset(sandboxes.find(id), call);
        }
    }

    /** For who has it alone. */
    Sandbox reset(Sandbox sandbox, Call call) {
        String id = sandbox.id();
        if (!sandbox.base().equals(sandbox.snapshot())) {
            throw refused(
                    id,
                    "its memory is not of its snapshot's files: it was paused since then, or forked of one that runs, or"
                            + " of a branch that was not written yet");
        }
        if (!sandbox.volumes().isEmpty()) {
            throw refused(id, "it writes through to " + sandbox.volumes() + ", which would not be put back with it");
        }
        try (Vm vm = vmm.attach(sandbox.control())) {
            try {
                vm.reset(id);
            } catch (VmmException e) {
                if (isAsItWas(vm)) {
                    throw refused(id, e.sentence());
                }
                throw ended(id, e.sentence());
            }
            awaitReady(id, vm, call);
        }
        return sandbox;
    }

    private static boolean isAsItWas(Vm vm) {
        return vm.await(Duration.ZERO)
                .filter(status -> status.phase() == Phase.READY)
                .isPresent();
    }

    private static void awaitReady(String id, Vm vm, Call call) {
        Optional<VmStatus> status = Optional.empty();
        while (status.isEmpty()) {
            call.check();
            status = vm.await(SLICE);
        }
        VmStatus now = status.orElseThrow();
        if (now.phase() != Phase.READY) {
            throw ended(id, now.reason());
        }
    }

    private static ForkdException refused(String id, String why) {
        return new ForkdException(Kind.CONFLICT, "the sandbox '" + id + "' cannot be reset: " + why);
    }

    private static ForkdException ended(String id, String why) {
        return new ForkdException(Kind.FAILED, "the sandbox '" + id + "' ended when it was reset: " + why);
    }
}
