package io.forkd.hub;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.files.Trees;
import io.forkd.image.QuietWork;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** Snapshots that have children before they are all here. */
class LazyPullTest extends TwoHosts {
    private Pull.Result pull(Runnable early) {
        return target.pull(
                ref, Optional.empty(), false, Optional.empty(), new QuietWork(), Optional.of(tag -> early.run()));
    }

    private Snapshot.State state(String tag) {
        return target.engine.store().state(target.engine.store().read(new SnapshotTag(tag)));
    }

    @Test
    void chain_has_children_before_it_is_here_and_is_like_any_other_afterwards() throws Exception {
        source.link("base", "one", "set note one");
        source.link("one", "two", "dirty 2");
        String hash = source.hash("two");
        source.push("two", ref);
        Trees.delete(source.home);
        List<Sandbox> early = new ArrayList<>();
        Pull.Result pulled = pull(() -> {
            assertThat(state("two")).isEqualTo(Snapshot.State.WRITING);
            assertThat(target.tags()).containsExactly("two");
            assertThat(target.exec("two", "get note")).isEqualTo("one");
            early.add(target.spawn("two"));
        });
        assertThat(pulled.links()).hasToString("[base, one, two]");
        assertThat(state("two")).isEqualTo(Snapshot.State.COMPLETE);
        assertThat(target.hash("two")).isEqualTo(hash);
        assertThat(target.exec("two", "get note")).isEqualTo("one");
        assertThat(Host.execIn(early.get(0), "get note")).isEqualTo("one");
        target.kill(early.get(0));
        target.link("two", "three", "set note three");
        assertThat(target.exec("three", "get note")).isEqualTo("three");
    }

    @Test
    void pull_that_ends_too_early_is_told_of_and_goes_on() {
        source.push("base", ref);
        List<Sandbox> early = new ArrayList<>();
        assertThatThrownBy(() -> pull(() -> {
                    early.add(target.spawn("base"));
                    throw new ForkdException(ForkdException.Kind.FAILED, "ended by this test");
                }))
                .hasMessageContaining("ended by this test");
        target.kill(early.get(0));
        assertThat(state("base")).isEqualTo(Snapshot.State.FAILED);
        assertThatThrownBy(() -> target.engine.store().open(new SnapshotTag("base")))
                .hasMessageContaining("was being pulled from " + ref + ", which ended too early: ended by this test");
        pull(() -> assertThat(target.exec("base", "get nothing")).isEmpty());
        assertThat(target.hash("base")).isEqualTo(source.hash("base"));
    }

    @Test
    void snapshot_whose_memory_is_here_is_pulled_as_ever() {
        source.push("base", ref);
        target.pull(ref);
        source.link("base", "one", "set note one");
        source.push("one", ref);
        pull(() -> assertThat(true).as("there was nothing to wait for").isFalse());
        assertThat(target.exec("one", "get note")).isEqualTo("one");
    }
}
