package io.forkd.agent;

import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * A process of a guest that was started over its streams, and is kept.
 *
 * @param argv cut to 4 KiB
 * @param exitCode when it has ended: negative when a signal ended it
 */
public record GuestProcessEntry(
        long pid,
        Optional<String> tag,
        List<String> argv,
        String directory,
        boolean terminal,
        Instant started,
        OptionalInt exitCode) {

    static GuestProcessEntry of(GuestAnswer answer) {
        OptionalLong code = answer.optionalNumber("exit_code", -GuestProcess.MAX_SIGNAL, 255);
        return new GuestProcessEntry(
                answer.number("pid", 1, Integer.MAX_VALUE),
                answer.optionalText("tag"),
                answer.texts("argv"),
                answer.text("cwd"),
                answer.flag("pty"),
                answer.time("started_ms"),
                code.isPresent() ? OptionalInt.of((int) code.getAsLong()) : OptionalInt.empty());
    }
}
