package io.forkd.rootfs;

import io.forkd.ForkdException;

/** A cache that may not grow has no room for an image. */
public final class NoRoomException extends ForkdException {
    private static final long serialVersionUID = 1;

    private final boolean passing;

    NoRoomException(String sentence, boolean passing) {
        super(Kind.FAILED, sentence);
        this.passing = passing;
    }

    /** Whether there may be room without anything being removed. */
    public boolean isPassing() {
        return passing;
    }
}
