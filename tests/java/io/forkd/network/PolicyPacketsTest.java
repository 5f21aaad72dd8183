package io.forkd.network;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What policies let through, with real packets: from guests, which are network stacks behind taps, to an internet. */
class PolicyPacketsTest {
    @TempDir
    static Path scratch;

    private static NetWorld world;
    private static Networks networks;
    private String first = "";
    private String second = "";

    @BeforeAll
    static void start() throws IOException {
        world = new NetWorld(scratch);
        networks = world.networks();
    }

    @AfterAll
    static void stop() {
        networks.close();
        world.close();
    }

    private static List<Path> users() {
        return List.of(scratch.resolve("a"), scratch.resolve("b"));
    }

    private void guests(String policy) {
        for (Path user : users()) {
            if (!Files.exists(user)) {
                assertThat(user.toFile().mkdir()).isTrue();
            }
        }
        List<String> names = networks.take(users(), NetworkPolicy.parse(List.of(policy)));
        first = names.get(0);
        second = names.get(1);
        assertThat(world.ask("guest " + first)).isEqualTo("ok");
        assertThat(world.ask("guest " + second)).isEqualTo("ok");
    }

    @AfterEach
    void takeBack() {
        networks.release(users());
        assertThat(world.left()).isEmpty();
        assertThat(world.forwarding()).isEqualTo("0");
    }

    private String tcp(String address, int port) {
        return world.ask("tcp " + first + " " + address + " " + port);
    }

    @Test
    void the_internet_is_every_public_address_and_nothing_else() {
        guests("internet");
        assertThat(tcp("1.1.1.1", 80)).isEqualTo("open");
        assertThat(tcp("93.184.216.34", 443)).isEqualTo("open");
        assertThat(world.ask("udp " + first + " 1.1.1.1 4433")).isEqualTo("answered");
        assertThat(world.ask("ping " + first + " 1.1.1.1")).isEqualTo("answered");
        assertThat(world.ask("resolve " + first + " a.example")).isEqualTo("93.184.216.34");
        // Metadata, link-local, private: refused, and at once.
        for (String address : List.of("169.254.169.254", "168.63.129.16", "192.168.7.7", "10.9.9.9", "100.64.3.3")) {
            assertThat(tcp(address, 80)).as(address).isEqualTo("refused");
            assertThat(world.ask("ping " + first + " " + address)).as(address).isEqualTo("silent");
            assertThat(world.ask("udp " + first + " " + address + " 4433"))
                    .as(address)
                    .isEqualTo("silent");
        }
        // The host by each of its addresses, and the namespace.
        assertThat(tcp("5.5.5.2", 22)).isEqualTo("timeout");
        assertThat(tcp("10.42.0.1", 22)).isEqualTo("timeout");
        assertThat(tcp("10.43.0.1", 22)).isEqualTo("refused");
    }

    @Test
    void a_sibling_is_not_reached_whatever_the_policy() {
        guests("all");
        assertThat(tcp("10.43.0.2", 8888)).isNotEqualTo("open");
        assertThat(tcp("10.43.0.3", 8888)).isNotEqualTo("open");
        assertThat(world.ask("ping " + first + " 10.43.0.3")).isEqualTo("silent");
        // The other one is there.
        assertThat(world.ask("to " + second + " 8888")).isEqualTo("open");
    }

    @Test
    void none_is_nothing_and_the_host_still_asks_the_guest() {
        guests("none");
        assertThat(tcp("1.1.1.1", 80)).isEqualTo("refused");
        assertThat(world.ask("udp " + first + " 8.8.8.8 53")).isEqualTo("silent");
        assertThat(tcp("5.5.5.2", 22)).isEqualTo("refused");
        assertThat(world.ask("to " + first + " 8888")).isEqualTo("open");
    }

    @Test
    void all_is_the_host_too() {
        guests("all");
        assertThat(tcp("1.1.1.1", 80)).isEqualTo("open");
        assertThat(tcp("192.168.7.7", 80)).isEqualTo("open");
        assertThat(tcp("169.254.169.254", 80)).isEqualTo("open");
        assertThat(tcp("5.5.5.2", 22)).isEqualTo("open");
    }

    @Test
    void a_list_is_what_it_says() {
        guests("192.168.7.0/24,1.1.1.1:443,8.8.8.8:8000-9000");
        assertThat(tcp("192.168.7.7", 80)).isEqualTo("open");
        assertThat(tcp("1.1.1.1", 443)).isEqualTo("open");
        assertThat(tcp("1.1.1.1", 80)).isEqualTo("refused");
        assertThat(tcp("8.8.8.8", 8080)).isEqualTo("open");
        assertThat(tcp("8.8.8.8", 80)).isEqualTo("refused");
        assertThat(tcp("93.184.216.34", 443)).isEqualTo("refused");
        assertThat(world.ask("ping " + first + " 192.168.7.7")).isEqualTo("answered");
        assertThat(world.ask("ping " + first + " 1.1.1.1")).isEqualTo("silent");
    }

    @Test
    void what_is_denied_is_denied_whatever_allows_it() {
        guests("!1.1.1.0/24,internet,1.1.1.1,!all:8080,1.1.0.0/16,1.1.1.0/24");
        assertThat(tcp("1.1.1.1", 80)).isEqualTo("refused");
        assertThat(tcp("8.8.8.8", 80)).isEqualTo("open");
        assertThat(tcp("8.8.8.8", 8080)).isEqualTo("refused");
    }

    @Test
    void a_name_opens_what_it_is_resolved_to_and_no_other_name_is_known() {
        guests("a.example:443,meta.example,inside.example");
        // Not before it was asked for.
        assertThat(tcp("93.184.216.34", 443)).isEqualTo("refused");
        assertThat(world.ask("resolve " + first + " a.example")).isEqualTo("93.184.216.34");
        assertThat(tcp("93.184.216.34", 443)).isEqualTo("open");
        assertThat(tcp("93.184.216.34", 80)).isEqualTo("refused");
        // What is below it belongs to it; another name on the same address does not, nor one of nobody.
        assertThat(world.ask("resolve " + first + " www.a.example")).isEqualTo("93.184.216.35");
        assertThat(world.ask("resolve " + first + " b.example")).isEqualTo("-");
        assertThat(world.ask("resolve " + first + " notexa.example")).isEqualTo("-");
        // A name does not lead inside.
        assertThat(world.ask("resolve " + first + " meta.example")).isEqualTo("-");
        assertThat(tcp("169.254.169.254", 80)).isEqualTo("refused");
        assertThat(world.ask("resolve " + first + " inside.example")).isEqualTo("-");
        assertThat(tcp("192.168.7.7", 80)).isEqualTo("refused");
        // What one of them asked opens nothing for another.
        assertThat(world.ask("tcp " + second + " 93.184.216.34 443")).isEqualTo("refused");
    }

    @Test
    void another_policy_ends_open_connections_that_it_forbids_and_no_others() {
        guests("internet");
        String cut = world.ask("hold " + first + " 1.1.1.1 80");
        String kept = world.ask("hold " + first + " 8.8.8.8 443");
        String other = world.ask("hold " + second + " 1.1.1.1 80");
        assertThat(world.ask("alive " + cut)).isEqualTo("answered");
        networks.set(first, NetworkPolicy.parse(List.of("internet,!1.1.1.1")));
        assertThat(world.ask("alive " + cut)).isEqualTo("reset");
        assertThat(world.ask("alive " + kept)).isEqualTo("answered");
        assertThat(world.ask("alive " + other)).isEqualTo("answered");
        networks.set(first, NetworkPolicy.NONE);
        assertThat(world.ask("alive " + kept)).isEqualTo("reset");
        networks.set(first, NetworkPolicy.parse(List.of("all")));
        assertThat(tcp("1.1.1.1", 80)).isEqualTo("open");
        assertThat(tcp("5.5.5.2", 22)).isEqualTo("open");
        networks.set(first, NetworkPolicy.parse(List.of("a.example")));
        assertThat(tcp("5.5.5.2", 22)).isEqualTo("refused");
        assertThat(world.ask("resolve " + first + " a.example")).isEqualTo("93.184.216.34");
        assertThat(tcp("93.184.216.34", 80)).isEqualTo("open");
        networks.set(first, NetworkPolicy.INTERNET);
        assertThat(world.ask("resolve " + first + " b.example")).isEqualTo("93.184.216.34");
    }

    @Test
    void ten_thousand_ranges_that_overlap_are_one_policy() {
        String ranges = IntStream.range(0, NetworkPolicy.MOST - 2)
                .mapToObj(i -> "20." + (i >> 8 & 15) + "." + (i & 255) + ".0/" + (24 - (i & 7)))
                .collect(Collectors.joining(","));
        guests("8.8.8.8:443,1.1.1.0/24," + ranges);
        assertThat(tcp("1.1.1.1", 80)).isEqualTo("open");
        assertThat(tcp("8.8.8.8", 443)).isEqualTo("open");
        assertThat(tcp("8.8.8.8", 80)).isEqualTo("refused");
    }

    @Test
    void a_guest_that_is_forked_finds_the_gateway_that_its_parent_knew() {
        networks.setUp(0, Optional.of(0));
        String gateway = "link/ether 02:fd:0a:2a:00:01 ";
        assertThat(world.run("ip", "-o", "link", "show", "forkd-tap0")).contains(gateway);
        guests("internet");
        for (String name : List.of(first, second)) {
            assertThat(world.run("ip", "-o", "-netns", name, "link", "show", "forkd-tap0"))
                    .contains(gateway);
        }
        networks.release(users());
        networks.tearDown(false);
    }

    @ParameterizedTest
    @ValueSource(strings = {"all", "internet"})
    void wrong_packets_end_at_the_tap(String policy) {
        guests(policy);
        assertThat(world.ask("spoof " + first + " right")).isEqualTo("20");
        for (String kind : List.of("address", "sibling", "mac", "vlan", "arp", "arp-mac", "ipv6")) {
            assertThat(world.ask("spoof " + first + " " + kind)).as(kind).isEqualTo("0");
        }
    }

    @ParameterizedTest
    @CsvSource({"true", "false"})
    void a_pooled_namespace_knows_nothing_of_its_last_guest(boolean pooled) {
        networks.setUp(pooled ? 2 : 0, Optional.empty());
        guests("a.example,192.168.7.7");
        assertThat(world.ask("resolve " + first + " a.example")).isEqualTo("93.184.216.34");
        assertThat(tcp("93.184.216.34", 80)).isEqualTo("open");
        assertThat(tcp("192.168.7.7", 80)).isEqualTo("open");
        networks.release(users());
        List<String> again = networks.take(users(), NetworkPolicy.INTERNET);
        assertThat(again).hasSize(2);
        assertThat(world.run("ip", "netns", "exec", again.get(0), "conntrack", "-C")
                        .strip())
                .endsWith("0");
        assertThat(world.run("nft", "list", "set", "inet", "forkd", "may_reach_host"))
                .doesNotContain("10.43");
        networks.release(users());
        networks.tearDown(false);
    }
}
