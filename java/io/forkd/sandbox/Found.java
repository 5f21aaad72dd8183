package io.forkd.sandbox;

import java.nio.file.Path;

/** What the folder of a sandbox is found to hold. */
public sealed interface Found {
    Path directory();

    default String id() {
        return String.valueOf(directory().getFileName());
    }

    /** The word for it, wherever it is listed. */
    String state();

    /** A sandbox of which is known what it is. */
    sealed interface Known extends Found {
        Sandbox sandbox();

        @Override
        default Path directory() {
            return sandbox().directory();
        }
    }

    /**
     * It answers.
     *
     * @param volumesAway whether its guest is without its volumes: it is being branched, or who branched it was killed
     * @param room for what it has written to its private disks: where there was none, a write has failed
     */
    record Running(Sandbox sandbox, boolean volumesAway, Room room) implements Known {
        @Override
        public String state() {
            return switch (room) {
                case HOST_FULL -> "full";
                case LIMIT_REACHED -> "at limit";
                case LEFT -> volumesAway ? "unmounted" : "running";
            };
        }
    }

    /** It has no process, and goes on where it was when it is resumed. Its folder is the one that it is kept in. */
    record Paused(Sandbox sandbox) implements Known {
        @Override
        public String state() {
            return "paused";
        }
    }

    /** Its process lives and does not answer: it was stopped, or its cgroup frozen, or it waits for a device. */
    record Stopped(Sandbox sandbox) implements Known {
        @Override
        public String state() {
            return "stopped";
        }
    }

    /** Its process lives and speaks the language of another version. */
    record OtherVersion(Sandbox sandbox) implements Known {
        @Override
        public String state() {
            return "other version";
        }
    }

    /** Its process lives, and what tells of it cannot be read. */
    record Damaged(Path directory, String reason) implements Found {
        @Override
        public String state() {
            return "damaged";
        }
    }

    /** Who makes it lives, and it is not ready. */
    record BeingMade(Path directory) implements Found {
        @Override
        public String state() {
            return "being made";
        }
    }

    /** It has ended, or its maker died before it was ready, and the folder is left. */
    record Ended(Path directory) implements Found {
        @Override
        public String state() {
            return "ended";
        }
    }
}
