package io.forkd.agent;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A program to run in a guest.
 *
 * @param argv at least one; the first is looked for in PATH
 * @param environment added to the image's
 * @param directory instead of the image's; with a user it may begin with {@code ~}, and so may HOME of the environment be:
 *     that user's home
 * @param user NAME or UID, with :GROUP or :GID, instead of the image's
 * @param stdin whether it gets input; otherwise it has an empty one
 * @param terminal what size of a terminal it has; none when empty
 * @param timeout after which it is ended; no limit when empty
 * @param tag a name by which it can be found, of 1 to 128 characters of {@code [A-Za-z0-9_.-]}
 * @param detach whether it goes on when nobody listens and what it wrote last is more than is kept
 */
public record RunRequest(
        List<String> argv,
        Map<String, String> environment,
        Optional<String> directory,
        Optional<String> user,
        boolean stdin,
        Optional<TerminalSize> terminal,
        Optional<Duration> timeout,
        Optional<String> tag,
        boolean detach) {

    public static RunRequest of(String... argv) {
        return new RunRequest(
                List.of(argv),
                Map.of(),
                Optional.empty(),
                Optional.empty(),
                false,
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                false);
    }

    public RunRequest withStdin() {
        return new RunRequest(argv, environment, directory, user, true, terminal, timeout, tag, detach);
    }

    public RunRequest withTerminal(TerminalSize size) {
        return new RunRequest(argv, environment, directory, user, true, Optional.of(size), timeout, tag, detach);
    }

    public RunRequest withTimeout(Duration limit) {
        return new RunRequest(argv, environment, directory, user, stdin, terminal, Optional.of(limit), tag, detach);
    }

    public RunRequest withTag(String name) {
        return new RunRequest(argv, environment, directory, user, stdin, terminal, timeout, Optional.of(name), detach);
    }

    public RunRequest detached() {
        return new RunRequest(argv, environment, directory, user, stdin, terminal, timeout, tag, true);
    }
}
