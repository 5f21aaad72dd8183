package io.forkd.kubernetes.node;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;

class NetworkRulesTest {
    private static String rules(String network) throws Exception {
        return NetworkRules.of(new ObjectMapper().readTree(network.replace('\'', '"'))).toString().replace('"', '\'');
    }

    @Test
    void a_policy_of_forkds_is_itself() throws Exception {
        assertThat(rules("{'policy': 'internet,!all:25'}")).isEqualTo("'internet,!all:25'");
    }

    @Test
    void no_rule_allows_nothing() throws Exception {
        assertThat(rules("{'egress': []}")).isEqualTo("'none'");
    }

    @Test
    void an_empty_rule_allows_all() throws Exception {
        assertThat(rules("{'egress': [{}]}")).isEqualTo("{'allow':['all'],'deny':[]}");
    }

    @Test
    void a_block_with_ports_and_without_what_is_except() throws Exception {
        assertThat(rules("{'egress': [{'to': [{'ipBlock': {'cidr': '10.0.0.0/8', 'except': ['10.1.0.0/16']}}],"
                        + " 'ports': [{'port': 443}, {'port': 8000, 'endPort': 8999}]}]}"))
                .isEqualTo("{'allow':['10.0.0.0/8:443','10.0.0.0/8:8000-8999'],"
                        + "'deny':['10.1.0.0/16:443','10.1.0.0/16:8000-8999']}");
    }

    @Test
    void names_and_the_whole_world() throws Exception {
        assertThat(rules("{'egress': [{'to': [{'dnsName': 'example.com'}, {'ipBlock': {'cidr': '0.0.0.0/0'}}],"
                        + " 'ports': [{'port': 443}]}]}"))
                .isEqualTo("{'allow':['example.com:443','all:443'],'deny':[]}");
    }
}
