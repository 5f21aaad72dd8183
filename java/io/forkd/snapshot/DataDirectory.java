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
}
