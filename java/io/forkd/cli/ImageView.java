package io.forkd.cli;

import io.forkd.engine.ImageSnapshot;
import java.time.Duration;

/** A snapshot that was made of a container image, as a verb shows it. */
record ImageView(
        String directory, String rootfs, String image, boolean cached, Duration build, Duration boot, Duration write) {
    static ImageView of(ImageSnapshot made) {
        return new ImageView(
                made.snapshot().directory().toString(),
                made.rootfs().file().toString(),
                made.rootfs().image().toString(),
                made.rootfs().cached(),
                made.build(),
                made.snapshot().boot(),
                made.snapshot().write());
    }

    /** Of the last line in which a daemon tells how it went. */
    static ImageView of(Answer made) {
        return new ImageView(
                made.object("snapshot").text("dir"),
                made.text("rootfs"),
                made.text("image"),
                made.flag("cached"),
                Duration.ofMillis(made.number("rootfs_ms")),
                Duration.ofMillis(made.number("boot_ms")),
                Duration.ofMillis(made.number("snapshot_ms")));
    }
}
