package io.forkd.network;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class NetworkPolicyTest {
    private static NetworkPolicy policy(String text) {
        return NetworkPolicy.parse(List.of(text));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "none                              | none",
                "internet                          | internet",
                "ALL                               | all",
                "0.0.0.0/0                         | all",
                "10.1.2.3/8                        | 10.0.0.0/8",
                "1.2.3.4/32                        | 1.2.3.4",
                "Example.COM.:443                  | example.com:443",
                " a.example , !10.0.0.0/8:1-65535  | a.example,!10.0.0.0/8:1-65535",
                "a.example,a.example               | a.example",
                "internet:443                      | internet:443",
            })
    void is_read_and_written(String text, String written) {
        NetworkPolicy read = policy(text);
        assertThat(read).hasToString(written);
        assertThat(policy(read.toString())).isEqualTo(read);
        assertThat(NetworkPolicy.of(read.toJson())).isEqualTo(read);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "none,internet",
                "10.0.0.0/33",
                "256.0.0.1",
                "01.2.3.4",
                "1.2.3",
                "a b",
                "a..b",
                "-a.example",
                "a.example:0",
                "a.example:65536",
                "a.example:9-8",
                "a.example:http",
                "a.example:",
                "::1",
                "[::1]:80",
                "2001:db8::/32",
                "!a.example",
                "!",
                "a.example/server=/x",
                "a.example\nserver=/x/1.1.1.1",
            })
    void nonsense_is_refused(String text) {
        assertThatThrownBy(() -> policy(text))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.USAGE));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "all                     | internet,10.0.0.0/8,a.example",
                "internet                | none",
                "internet                | 1.1.1.0/24:443,a.example:80-90",
                "10.0.0.0/8              | 10.1.0.0/16",
                "10.0.0.0/8:1-100        | 10.1.0.0/16:80",
                "a.example               | www.a.example:443,a.example",
                "all,!10.0.0.0/8         | all,!10.0.0.0/7",
                "all,!10.0.0.0/8         | 192.168.0.0/16",
                "all,!all:25             | internet:443",
                "internet,!10.0.0.0/8    | internet",
            })
    void narrower_is_within(String wide, String narrow) {
        assertThat(policy(wide).contains(policy(narrow))).isTrue();
        assertThat(policy(wide).contains(policy(wide))).isTrue();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "none                    | internet",
                "internet                | all",
                "internet                | 10.0.0.0/8",
                "internet                | 8.0.0.0/5",
                "10.0.0.0/8              | 10.0.0.0/7",
                "10.0.0.0/8:80           | 10.0.0.0/8",
                "10.0.0.0/8:80           | 10.0.0.0/8:80-81",
                "www.a.example           | a.example",
                "a.example               | ba.example",
                "a.example               | 1.1.1.1",
                "all,!10.0.0.0/8         | all",
                "all,!10.0.0.0/8         | 10.0.0.1",
                "all,!1.1.1.1            | a.example",
                "internet,!internet:25   | internet",
            })
    void wider_is_not_within(String narrow, String wide) {
        assertThat(policy(narrow).contains(policy(wide))).isFalse();
    }

    @Test
    void contradictions_are_named() {
        assertThat(policy("10.0.0.0/8,10.1.0.0/16:80,internet,!10.0.0.0/8").contradictions())
                .containsExactly("10.0.0.0/8", "10.1.0.0/16:80");
    }

    @Test
    void there_may_be_ten_thousand_rules_and_no_more() {
        List<String> rules = IntStream.range(0, NetworkPolicy.MOST)
                .mapToObj(i -> "20." + (i >> 8) + "." + (i & 255) + ".0/24")
                .toList();
        assertThat(NetworkPolicy.parse(rules).allow()).hasSize(NetworkPolicy.MOST);
        assertThatThrownBy(() -> NetworkPolicy.parse(List.of(String.join(",", rules), "internet")))
                .hasMessageContaining("10000");
    }

    @Test
    void there_may_be_a_thousand_ports_and_no_more() {
        List<String> rules = IntStream.rangeClosed(1, NetworkPolicy.MOST_PORTS)
                .mapToObj(port -> (port % 2 == 0 ? "!" : "") + "internet:" + port)
                .toList();
        assertThat(NetworkPolicy.parse(rules).allow()).hasSize(NetworkPolicy.MOST_PORTS / 2);
        assertThatThrownBy(() -> NetworkPolicy.parse(List.of(String.join(",", rules), "10.0.0.0/8:2000-3000")))
                .hasMessageContaining("1000 different ports");
    }
}
