package io.forkd.snapshot;

import io.forkd.files.Home;
import java.nio.file.Path;
import java.util.Map;

/** Where forkd keeps what lasts. */
public final class DataDirectory {
    private DataDirectory() {}

    /** {@code $XDG_DATA_HOME/forkd}, else {@code .local/share/forkd} in the home folder. */
    public static Path of(Map<String, String> environment) {
        String data = environment.getOrDefault("XDG_DATA_HOME", "");
        return (data.isEmpty() ? Home.of(environment, "XDG_DATA_HOME").resolve(".local/share") : Path.of(data))
                .resolve("forkd")
                .toAbsolutePath();
    }

    /** {@code $FORKD_SNAPSHOT_ROOT}, else {@code snapshots} in it. */
    public static Path snapshots(Map<String, String> environment) {
        String root = environment.getOrDefault("FORKD_SNAPSHOT_ROOT", "");
        return root.isEmpty()
                ? of(environment).resolve("snapshots")
                : Path.of(root).toAbsolutePath();
    }
}
