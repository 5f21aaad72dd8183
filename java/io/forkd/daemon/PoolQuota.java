package io.forkd.daemon;

import io.forkd.engine.Call;
import io.forkd.engine.Pool;
import io.forkd.engine.Pools;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.snapshot.Snapshot;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * What is made for a user's pool is as what the user makes: it counts against the quotas that it has at that time, and is no
 * more than the snapshot gives that has the tag by then.
 */
final class PoolQuota implements Pools.Admission {
    private final Quota quota;
    private volatile Function<String, Optional<Caller>> callers = name -> Optional.empty();

    PoolQuota(Quota quota) {
        this.quota = quota;
    }

    /** Those whom their tokens let in; before that is said, there are none. */
    void of(Function<String, Optional<Caller>> known) {
        callers = known;
    }

    @Override
    public <T> T admit(Pool pool, Snapshot snapshot, int count, Call call, Supplier<T> job) {
        if (pool.owner().isEmpty()) {
            return job.get();
        }
        String owner = pool.owner().get();
        Caller caller = callers.apply(owner)
                .filter(one -> one.owner().equals(pool.owner()))
                .orElseThrow(() -> new HttpFailure(403, "there is no user " + owner + " any more"));
        Widening.require(
                caller, snapshot.manifest(), pool.like().limits(), pool.like().network());
        return quota.sandboxes(caller, snapshot.manifest(), count, call, job);
    }
}
