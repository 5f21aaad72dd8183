package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.engine.BranchRequest;
import io.forkd.engine.Engine;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.snapshot.Snapshot.State;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class BranchingTest {
    @RegisterExtension
    static final Service service = new Service();

    @Test
    void place_of_a_branch_that_is_written_before_its_call_ends_is_released_once() throws Exception {
        Engine engine = service.beside();
        Branching branching = new Branching(engine, 1, new Metrics());
        Branching.Slot slot = branching.take(service.tag("early"));
        slot.branch(
                new BranchRequest(service.sandbox(), Optional.of(service.tag("early")), false, false, false),
                Service.call());
        while (engine.store().state(engine.store().read(service.tag("early"))) == State.WRITING) {
            Thread.sleep(1);
        }
        try (Branching.Slot next = branching.take(service.tag("next"))) {
            slot.close();
            assertThat(next).isNotNull();
            assertThatThrownBy(() -> branching.take(service.tag("third")))
                    .isInstanceOfSatisfying(
                            HttpFailure.class, e -> assertThat(e.status()).isEqualTo(503));
        }
        branching.take(service.tag("third")).close();
    }
}
