package io.forkd.network;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.ForkdException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What is missing is said by its name, with what to do about it. */
class ObstaclesTest {
    private static final String PROGRAM =
            Path.of("build/forkd-net").toAbsolutePath().toString();

    private static ForkdException obstacle(String... command) {
        try (Networks networks = new Networks(Map.of(), () -> List.of(command))) {
            return networks.obstacle().orElseThrow();
        }
    }

    @Test
    void without_the_library() {
        ForkdException e = obstacle(
                "unshare",
                "--mount",
                "sh",
                "-c",
                "mount --bind /dev/null /usr/lib/x86_64-linux-gnu/libnftables.so.1 && exec " + PROGRAM);
        assertThat(e.sentence()).contains("libnftables.so.1");
        assertThat(e.remedy()).hasToString("apt-get install libnftables1 libmnl0, as root.");
    }

    @Test
    void without_the_rights() {
        ForkdException e = obstacle("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", PROGRAM);
        assertThat(e.sentence()).contains("CAP_NET_ADMIN");
        assertThat(e.remedy()).hasToString("Do it as root.");
    }

    @Test
    void without_a_resolver_to_ask() {
        Networks networks = new Networks(Map.of("FORKD_NET_RESOLVERS", "127.0.0.1x"), List::of);
        assertThat(networks.nameObstacle().orElseThrow().sentence()).contains("127.0.0.1x");
    }

    @Test
    void with_another_range_than_addresses() {
        Networks networks = new Networks(Map.of("FORKD_NET_RANGE", "10.42.0.0/16"), List::of);
        assertThat(networks.obstacle().orElseThrow().sentence()).contains("10.42.0.0/24");
    }
}
