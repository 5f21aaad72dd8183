package io.forkd.files;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.nio.file.Path;
import java.util.Map;

/** The user's home folder. */
public final class Home {
    private Home() {}

    /**
     * {@code $HOME}, and where that is not set, as in a service, what the system's user database says.
     *
     * @param instead the variable that names the folder which is looked for, for the error
     */
    public static Path of(Map<String, String> environment, String instead) {
        String home = environment.getOrDefault("HOME", "");
        if (home.isEmpty()) {
            home = System.getProperty("user.home", "");
        }
        if (!home.startsWith("/") || home.equals("/nonexistent")) {
            throw new ForkdException(
                    Kind.FAILED,
                    "HOME is not set, and this user has no home folder",
                    "Set HOME, or " + instead + " to a folder of this user.");
        }
        return Path.of(home);
    }
}
