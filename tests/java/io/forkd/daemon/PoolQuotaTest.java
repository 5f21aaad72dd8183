package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.Pool;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.Caller;
import io.forkd.http.Caller.Means;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.HttpFailure;
import io.forkd.network.NetworkPolicy;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.node.JsonNodeFactory;

/** A pool is as wide as its snapshot was when the pool was defined; the tag may be another's by now. */
class PoolQuotaTest {
    private static final SnapshotTag TAG = new SnapshotTag("py");

    @TempDir
    Path folder;

    private static Limits disk(long mib) {
        return new Limits(Map.of(Limit.DISK, mib));
    }

    private static NetworkPolicy policy(String text) {
        return NetworkPolicy.parse(List.of(text));
    }

    private static Pool pool(Optional<String> owner) {
        NetworkRequest network = new NetworkRequest(true, Optional.of(policy("internet")));
        return new Pool("web", owner, 1, new SpawnRequest(TAG, 1, network, disk(100), VolumeConflict.FAIL), "1");
    }

    private static Snapshot snapshot(long diskMib, String network) {
        Path file = Path.of("/absent");
        Machine machine = new Machine(1, file, Optional.empty(), "", Optional.empty(), disk(diskMib), "1");
        return new Snapshot(
                TAG,
                file,
                new Manifest(
                        file,
                        file,
                        1 << 20,
                        List.of(),
                        file,
                        Optional.empty(),
                        List.of(),
                        machine,
                        Optional.of(policy(network)),
                        Instant.EPOCH,
                        JsonNodeFactory.instance.objectNode()));
    }

    @Test
    void users_pool_makes_no_more_than_the_snapshot_gives_that_has_its_tag_now() {
        Engine engine = Engine.of(Map.of("XDG_DATA_HOME", folder.toString(), "XDG_RUNTIME_DIR", folder.toString()));
        PoolQuota quota = new PoolQuota(new Quota(engine));
        Caller anna = new Caller(Means.TOKEN, "anna", Role.USER, Quotas.NONE);
        quota.of(name -> Optional.of(anna).filter(caller -> name.equals("anna")));
        Optional<String> owner = Optional.of("anna");
        Call call = Calls.toTheEnd();
        assertThat(quota.<String>admit(pool(owner), snapshot(100, "internet"), 1, call, () -> "made"))
                .isEqualTo("made");
        for (Snapshot narrower : List.of(snapshot(50, "internet"), snapshot(100, "none"))) {
            assertThatThrownBy(() -> quota.<String>admit(pool(owner), narrower, 1, call, () -> "made"))
                    .isInstanceOf(HttpFailure.class)
                    .hasMessageContaining("administrators");
            assertThat(quota.<String>admit(pool(Optional.empty()), narrower, 1, call, () -> "made"))
                    .isEqualTo("made");
        }
    }
}
