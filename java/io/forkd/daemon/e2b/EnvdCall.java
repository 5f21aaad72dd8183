package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.agent.GuestException.Refused;
import io.forkd.agent.GuestStreams;
import io.forkd.daemon.Guests;
import io.forkd.daemon.Guests.Open;
import io.forkd.http.HttpCall;
import io.forkd.sandbox.Found.Known;
import java.time.Duration;
import java.util.Optional;
import java.util.function.Function;

/**
 * A call of a sandbox's daemon that was let in.
 *
 * @param user whose rights it has
 */
record EnvdCall(Guests guests, HttpCall http, Known sandbox, Profile profile, Optional<String> user) {
    private static final Duration KEEPALIVE = Duration.ofSeconds(90);

    /** That have a number of nanoseconds. */
    private static final long MOST_MILLISECONDS = Long.MAX_VALUE / 1_000_000;

    /** What the guest answers at once. */
    <T> T ask(Function<GuestStreams, T> question) {
        return guests.ask(http, sandbox, guest -> told(() -> question.apply(guest)));
    }

    /** What goes on for long. */
    <T extends AutoCloseable> Open<T> open(Function<GuestStreams, T> opening) {
        return guests.open(http, sandbox, guest -> told(() -> opening.apply(guest)));
    }

    /** A refusal keeps its reason, which the status of an answer would not tell. */
    private static <T> T told(java.util.function.Supplier<T> job) {
        try {
            return job.get();
        } catch (Refused e) {
            throw ConnectFailure.of(e);
        }
    }

    /** Of something open. */
    static ConnectFailure failure(Open<?> open, RuntimeException e) {
        return ConnectFailure.of(
                e instanceof ForkdException known && !(e instanceof Refused) ? open.failure(known) : e);
    }

    Account account(GuestStreams guest) {
        return user.map(name -> Account.find(guest, name))
                .orElseGet(() -> Account.usual(guest, profile.defaults().user()));
    }

    /** What relative paths begin at. */
    String base(Account account) {
        return profile.defaults().directory().orElse(account.home());
    }

    /** How long a stream may be silent. */
    Duration keepalive() {
        return milliseconds("Keepalive-Ping-Interval", 1000)
                .filter(interval -> !interval.isZero())
                .orElse(KEEPALIVE);
    }

    /** What the client has set for the whole call. */
    Optional<Duration> timeout() {
        return milliseconds("Connect-Timeout-Ms", 1);
    }

    private Optional<Duration> milliseconds(String header, int unit) {
        return http.header(header).map(text -> {
            if (!text.matches("[0-9]{1,10}")) {
                throw ConnectFailure.invalid("the header " + header + " must be a number of at most ten digits");
            }
            return Duration.ofMillis(Math.min(Long.parseLong(text) * unit, MOST_MILLISECONDS));
        });
    }
}
