package io.forkd.snapshot;

import java.nio.file.Path;
import java.util.Map;

/** Where forkd keeps what lasts. */
public final class DataDirectory {
    private DataDirectory() {}

    /** {@code $XDG_DATA_HOME/forkd}, else {@code $HOME/.local/share/forkd}, else {@code /tmp/.local/share/forkd}. */
    public static Path of(Map<String, String> environment) {
        String data = environment.getOrDefault("XDG_DATA_HOME", "");
        if (!data.isEmpty()) {
            return Path.of(data, "forkd").toAbsolutePath();
        }
        String home = environment.getOrDefault("HOME", "");
        return Path.of(home.isEmpty() ? "/tmp" : home, ".local", "share", "forkd")
                .toAbsolutePath();
    }
}
