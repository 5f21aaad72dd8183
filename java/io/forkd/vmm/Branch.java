package io.forkd.vmm;

import java.time.Duration;
import java.util.Locale;

/**
 * A branch of a VM.
 *
 * @param pause how long the guest stood still
 * @param way how its memory got there
 * @param server holds everything of that instant, gives children, and is being written to disk if that was wanted
 */
public record Branch(Duration pause, Way way, ForkServer server) {
    /** How a branch gets its memory. */
    public enum Way {
        /** By fork(2): it is shared until one of both writes to it. */
        FORK,
        /** Its source's own pages were copied, most of them while the guest ran. */
        PRECOPY;

        /** As it is shown. */
        public String text() {
            return name().toLowerCase(Locale.ROOT);
        }
    }
}
