package io.forkd.vmm;

import java.time.Duration;
import java.util.Optional;

/**
 * Where a VM is in its life.
 *
 * @param pid of the VM's process; 0 while not yet known
 * @param startTime of a detached VM's process, for {@link Vm#kill(int, long)}; 0 otherwise
 * @param hostFull whether a write to a private disk has failed, since the host had no room for it
 * @param diskFull whether one has, since it would have been past the limit that the VM was given
 * @param fork children only: from fork(2) to the guest's first instruction
 * @param ready children only: from fork(2) to {@link Phase#READY}
 * @param error there when {@code end} is {@link End#ERROR}
 */
public record VmStatus(
        Phase phase,
        End end,
        int pid,
        long startTime,
        boolean hostFull,
        boolean diskFull,
        Duration fork,
        Duration ready,
        Optional<NativeError> error) {

    /** Whether it can be used. */
    public enum Phase {
        STARTING,
        READY,
        ENDED
    }

    /** Why a VM ended; the text completes "the guest ...". */
    public enum End {
        NONE("is running"),
        KILLED("was killed"),
        POWER_OFF("powered itself off"),
        RESET("asked for a reset, as a kernel does after a panic"),
        CRASH("crashed: its processor cannot go on"),
        ERROR("was ended by an error of the monitor");

        private final String text;

        End(String text) {
            this.text = text;
        }

        public String text() {
            return text;
        }
    }

    /** Why it ended, as the end of a sentence. */
    public String reason() {
        return error.map(NativeError::sentence).orElse("the guest " + end.text());
    }
}
