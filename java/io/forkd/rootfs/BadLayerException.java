package io.forkd.rootfs;

import java.io.IOException;

/** A layer has something that no layer may have. The message says what; whoever knows the member's name adds it. */
final class BadLayerException extends IOException {
    private static final long serialVersionUID = 1;

    BadLayerException(String why) {
        super(why);
    }
}
