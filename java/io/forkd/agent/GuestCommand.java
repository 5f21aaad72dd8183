package io.forkd.agent;

import java.io.InputStream;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A command for a guest.
 *
 * @param timeout how long it may take; no limit when empty
 * @param environment added to the image's
 * @param directory instead of the image's
 * @param user NAME or UID, with :GROUP or :GID, instead of the image's
 * @param input its stdin, read to the end while it runs; nothing when empty
 */
public record GuestCommand(
        List<String> words,
        Optional<Duration> timeout,
        Map<String, String> environment,
        Optional<String> directory,
        Optional<String> user,
        Optional<InputStream> input) {

    public GuestCommand(List<String> words, Optional<Duration> timeout) {
        this(words, timeout, Map.of(), Optional.empty(), Optional.empty(), Optional.empty());
    }
}
