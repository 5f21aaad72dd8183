package io.forkd.daemon;

import io.forkd.Remedy;
import io.forkd.engine.Call;
import io.forkd.engine.Progress;
import io.forkd.http.HttpCall;
import java.time.Duration;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Operations of the engine on behalf of requests. */
public final class Calls {
    private static final Logger LOG = LoggerFactory.getLogger("forkd.daemon");

    /** Nobody watches; what the user should know is in the log. */
    private static final Progress QUIET = new Progress() {
        @Override
        public void step(String what) {
            LOG.debug("{}", what);
        }

        @Override
        public void warn(String what, Remedy remedy) {
            LOG.warn("{}", what);
        }
    };

    private Calls() {}

    /** One that ends when its client goes away. */
    public static Call of(HttpCall http, Optional<Duration> limit) {
        return of(http, limit, QUIET);
    }

    /** The same, of which somebody hears how it goes on. */
    public static Call of(HttpCall http, Optional<Duration> limit, Progress progress) {
        Call call = new Call(progress, limit);
        call.setOwner(http.caller().owner());
        http.onCancel(call::cancel);
        return call;
    }

    /** One that is done to its end, whoever waits for it: what was begun must not be left half done. */
    public static Call toTheEnd() {
        return new Call(QUIET, Optional.empty());
    }
}
