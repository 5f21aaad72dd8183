package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.engine.BranchRequest;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.snapshot.Snapshot.State;
import java.util.Optional;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class BranchingTest {
    @RegisterExtension
    static final Service service = new Service();

    private static final Caller ADMIN = caller("root", Caller.Role.ADMIN);

    private static Caller caller(String name, Caller.Role role) {
        return new Caller(Caller.Means.TOKEN, name, role, Caller.Quotas.NONE);
    }

    private static void assertRefused(ThrowingCallable take, String why) {
        assertThatThrownBy(take).isInstanceOfSatisfying(HttpFailure.class, e -> {
            assertThat(e.status()).isEqualTo(503);
            assertThat(e).hasMessageContaining(why);
        });
    }

    /** Whose sandboxes may take a byte a second to write theirs. */
    @Test
    void one_user_has_half_of_the_places_and_all_of_them_three_quarters() {
        Branching branching = new Branching(service.beside(), 4, new Metrics());
        Caller anna = caller("anna", Caller.Role.USER);
        Caller bert = caller("bert", Caller.Role.USER);
        try (Branching.Slot first = branching.take(anna, service.tag("a1"))) {
            assertThat(first).isNotNull();
            branching.take(anna, service.tag("a2"));
            assertRefused(() -> branching.take(anna, service.tag("a3")), "2 branches are under way for anna");
            branching.takeBuild(anna, service.tag("a3"));
            branching.take(bert, service.tag("b1"));
            assertRefused(() -> branching.take(bert, service.tag("b2")), "3 branches are under way for users");
            branching.take(ADMIN, service.tag("c1"));
            assertRefused(() -> branching.take(ADMIN, service.tag("c2")), "4 branches are under way");
        }
        branching.take(bert, service.tag("b2"));
    }

    @Test
    void place_of_a_branch_that_is_written_before_its_call_ends_is_released_once() throws Exception {
        Engine engine = service.beside();
        Branching branching = new Branching(engine, 1, new Metrics());
        Branching.Slot slot = branching.take(ADMIN, service.tag("early"));
        slot.branch(
                new BranchRequest(service.sandbox(), Optional.of(service.tag("early")), false, false, false),
                Service.call());
        while (engine.store().state(engine.store().read(service.tag("early"))) == State.WRITING) {
            Thread.sleep(1);
        }
        try (Branching.Slot next = branching.take(ADMIN, service.tag("next"))) {
            slot.close();
            assertThat(next).isNotNull();
            assertThatThrownBy(() -> branching.take(ADMIN, service.tag("third")))
                    .isInstanceOfSatisfying(
                            HttpFailure.class, e -> assertThat(e.status()).isEqualTo(503));
        }
        branching.take(ADMIN, service.tag("third")).close();
    }
}
