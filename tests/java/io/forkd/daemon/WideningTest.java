package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.http.Caller;
import io.forkd.http.Caller.Means;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.HttpFailure;
import io.forkd.network.NetworkPolicy;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class WideningTest {
    private static final Caller USER = new Caller(Means.TOKEN, "anna", Role.USER, Quotas.NONE);
    private static final Caller ADMIN = new Caller(Means.TOKEN, "root", Role.ADMIN, Quotas.NONE);

    private static NetworkPolicy policy(String text) {
        return NetworkPolicy.parse(List.of(text));
    }

    private static Limits disk(long mib) {
        return new Limits(Map.of(Limit.DISK, mib));
    }

    @Test
    void users_narrow_a_policy_and_do_not_widen_it() {
        Widening.require(USER, policy("internet"), policy("example.com:443"));
        Widening.require(USER, policy("none"), policy("none"));
        assertThatThrownBy(() -> Widening.require(USER, policy("none"), policy("internet")))
                .isInstanceOfSatisfying(
                        HttpFailure.class, e -> assertThat(e.status()).isEqualTo(403));
        assertThatThrownBy(() -> Widening.require(USER, policy("internet,!internet:25"), policy("internet")))
                .isInstanceOf(HttpFailure.class);
        Widening.require(ADMIN, policy("none"), policy("all"));
    }

    @Test
    void users_lower_limits_and_do_not_raise_them() {
        Widening.require(USER, disk(100), disk(100));
        Widening.require(USER, disk(0), disk(20_000));
        Widening.require(USER, disk(0), disk(0));
        Widening.require(USER, Limits.NONE, new Limits(Map.of(Limit.NET_BYTES, 1L)));
        assertThatThrownBy(() -> Widening.require(USER, disk(100), disk(101))).isInstanceOf(HttpFailure.class);
        assertThatThrownBy(() -> Widening.require(USER, disk(100), disk(0))).isInstanceOf(HttpFailure.class);
        assertThatThrownBy(() -> Widening.require(USER, Limits.NONE, disk(10_241)))
                .isInstanceOf(HttpFailure.class)
                .hasMessageContaining("disk_limit_mib");
        Widening.require(ADMIN, disk(100), disk(0));
    }
}
