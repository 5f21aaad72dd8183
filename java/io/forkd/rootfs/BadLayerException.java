package io.forkd.rootfs;

import io.forkd.Remedy;
import java.io.IOException;

/** A layer has something that no layer may have. The message says what; whoever knows the member's name adds it. */
final class BadLayerException extends IOException {
    private static final long serialVersionUID = 1;

    private final transient Remedy remedy;

    BadLayerException(String why) {
        this(why, Remedy.NONE);
    }

    BadLayerException(String why, Remedy remedy) {
        super(why);
        this.remedy = remedy;
    }

    Remedy remedy() {
        return remedy;
    }
}
