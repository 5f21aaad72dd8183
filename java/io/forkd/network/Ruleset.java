package io.forkd.network;

import io.forkd.network.Rule.Destination;
import io.forkd.network.Rule.Ports;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * A policy as commands of nft(8), which put its tables in place of those that are there, in one transaction.
 *
 * <p>A connection is judged by where it was meant to go, in both directions, and marked with the number of the policy that
 * let it through: a new policy judges those that are open anew.
 */
final class Ruleset {
    static final String TABLE = "inet forkd";

    private static final String TAP_SIDE = "netdev forkd";

    /** Of the host, for the tap that parents are booted on. */
    static final String TAP_TABLE = "inet forkd_tap";

    /**
     * How long an address stays open after its name was resolved. The resolver tells nftables no lifetimes; it tells guests
     * to ask again at once.
     */
    static final int NAME_SECONDS = 60;

    /** Connections of a guest at a time: those of all have to fit into the host's table. */
    private static final int CONNECTIONS = 4096;

    private static final String GUEST_MAC = "aa:fc:00:00:00:01";
    private static final String TAP = "\"" + NetConfig.TAP + "\"";
    private static final String DNS = " meta l4proto { tcp, udp } th dport 53";
    private static final String UPLINK = "\"veth0\"";

    /** Sets of names and the ports that they are open on. */
    record NameSet(String set, List<String> names) {}

    private Ruleset() {}

    /** The rules of one namespace. */
    static String child(NetConfig config, int number, NetworkPolicy policy, int generation, List<String> local) {
        StringBuilder out = new StringBuilder();
        List<NameSet> names = names(policy);
        // What is neither the guest's address nor its MAC is somebody else's; there is no IPv6, and nothing else. In a
        // table of its own: that of inet sees no ARP.
        replace(out, TAP_SIDE);
        put(
                out,
                "chain from_guest {",
                "type filter hook ingress device " + TAP + " priority -500; policy drop;",
                "ether saddr != " + GUEST_MAC + " drop",
                "ether type ip ip saddr " + config.guest() + " accept",
                "ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation { request, reply }"
                        + " arp saddr ether " + GUEST_MAC + " arp saddr ip " + config.guest() + " accept",
                "}",
                "}");
        replace(out, TABLE);
        List<String> never = new ArrayList<>(local);
        Rule.NOT_PUBLIC.forEach(range -> never.add(range.toString()));
        never.add(config.range().toString());
        set(out, "never", never);
        names.forEach(set -> out.append("set ")
                .append(set.set())
                .append(" { type ipv4_addr; flags timeout; timeout ")
                .append(NAME_SECONDS)
                .append("s; size 65535; }\n"));

        String rules = policy(out, policy, names);
        put(
                out,
                "chain refuse {",
                "iifname != " + TAP + " drop",
                "meta l4proto tcp reject with tcp reset",
                "reject with icmp admin-prohibited",
                "}",
                "chain grant {",
                "ct mark set " + generation + " accept",
                "}",
                "chain judge {",
                "ct state invalid drop",
                "ct mark " + generation + " accept",
                "ct state new ct count over " + CONNECTIONS + " drop",
                rules + "jump refuse",
                "}",
                "chain forwarded {",
                "type filter hook forward priority filter; policy drop;",
                "iifname " + TAP + " oifname " + UPLINK + " jump judge",
                "iifname " + UPLINK + " oifname " + TAP + " ct state established,related jump judge",
                "}",
                "chain to_us {",
                "type filter hook input priority filter; policy drop;",
                "iifname \"lo\" accept",
                "ct state established,related accept");
        if (!names.isEmpty()) {
            put(out, "iifname " + TAP + DNS + " accept");
        }
        put(
                out,
                "}",
                "chain from_us {",
                "type filter hook output priority filter; policy drop;",
                "oifname { \"lo\", " + TAP + " } accept");
        if (!names.isEmpty()) {
            put(
                    out,
                    "oifname " + UPLINK + " ip daddr { " + String.join(", ", config.resolvers()) + " }" + DNS
                            + " accept");
        }
        put(out, "}");
        if (!names.isEmpty()) {
            // Whichever resolver the guest knows, it asks ours.
            put(
                    out,
                    "chain resolved {",
                    "type nat hook prerouting priority dstnat; policy accept;",
                    "iifname " + TAP + DNS + " redirect to :53",
                    "}");
        }
        put(
                out,
                "chain leaving {",
                "type nat hook postrouting priority srcnat; policy accept;",
                "oifname " + UPLINK + " snat ip to " + config.address(number),
                "}",
                "}");
        return out.toString();
    }

    private static void put(StringBuilder out, String... lines) {
        for (String line : lines) {
            out.append(line).append('\n');
        }
    }

    /** Whatever table was there, it is not any more. */
    private static void replace(StringBuilder out, String table) {
        put(out, without(table) + "table " + table + " {");
    }

    private static void set(StringBuilder out, String name, List<String> ranges) {
        out.append("set ")
                .append(name)
                .append(" { type ipv4_addr; flags interval; auto-merge; elements = { ")
                .append(String.join(", ", ranges))
                .append(" }; }\n");
    }

    static List<NameSet> names(NetworkPolicy policy) {
        List<NameSet> sets = new ArrayList<>();
        byPorts(policy.named())
                .forEach((ports, rules) -> sets.add(new NameSet(
                        "names_" + sets.size(),
                        rules.stream()
                                .map(rule -> rule.destination().toString())
                                .toList())));
        return sets;
    }

    private static Map<Optional<Ports>, List<Rule>> byPorts(List<Rule> rules) {
        return rules.stream()
                .collect(Collectors.groupingBy(Rule::ports, LinkedHashMap::new, Collectors.<Rule>toList()));
    }

    /** Sets for the addresses that the policy names, and the rules that look at them. */
    private static String policy(StringBuilder out, NetworkPolicy policy, List<NameSet> names) {
        StringBuilder rules = new StringBuilder();
        ranges(out, rules, "denied_", policy.deny(), "jump refuse");
        ranges(out, rules, "allowed_", policy.allow(), "jump grant");
        int next = 0;
        for (Optional<Ports> ports : byPorts(policy.named()).keySet()) {
            rules.append(ports(ports))
                    .append("ct original ip daddr @")
                    .append(names.get(next++).set())
                    .append(" ct original ip daddr != @never jump grant\n");
        }
        return rules.toString();
    }

    private static void ranges(StringBuilder out, StringBuilder rules, String prefix, List<Rule> all, String verdict) {
        int next = 0;
        for (Map.Entry<Optional<Ports>, List<Rule>> entry : byPorts(all).entrySet()) {
            String ports = ports(entry.getKey());
            List<String> addresses = new ArrayList<>();
            for (Rule rule : entry.getValue()) {
                Destination destination = rule.destination();
                if (destination instanceof Destination.All) {
                    rules.append(ports).append(verdict).append('\n');
                } else if (destination instanceof Destination.Internet) {
                    rules.append(ports)
                            .append("ct original ip daddr != @never ")
                            .append(verdict)
                            .append('\n');
                } else if (destination instanceof Destination.Addresses range) {
                    addresses.add(range.toString());
                }
            }
            if (!addresses.isEmpty()) {
                String name = prefix + next++;
                set(out, name, addresses);
                rules.append(ports)
                        .append("ct original ip daddr @")
                        .append(name)
                        .append(' ')
                        .append(verdict)
                        .append('\n');
            }
        }
    }

    private static String ports(Optional<Ports> ports) {
        return ports.map(range -> "meta l4proto { tcp, udp } ct original proto-dst " + range + " ")
                .orElse("");
    }

    /** The rules of the host: children reach neither it nor each other, and are seen from outside as the host. */
    static String host(NetConfig config) {
        StringBuilder out = new StringBuilder();
        String child = "\"" + NetConfig.UPLINKS + "*\"";
        replace(out, TABLE);
        put(
                out,
                "set may_reach_host { type ipv4_addr; }",
                "chain to_host {",
                "type filter hook input priority filter; policy accept;",
                "iifname " + child + " ip saddr @may_reach_host accept");
        if (!config.resolvers().isEmpty()) {
            put(
                    out,
                    "iifname " + child + " ip daddr { " + String.join(", ", config.resolvers()) + " }" + DNS
                            + " accept");
        }
        put(
                out,
                "iifname " + child + " drop",
                "}",
                "chain through {",
                "type filter hook forward priority filter; policy accept;",
                "iifname " + child + " oifname " + child + " drop",
                "iifname " + child + " fib saddr . iif oif missing drop",
                "iifname " + child + " accept",
                "oifname " + child + " ct state established,related accept",
                "oifname " + child + " drop",
                "}",
                "chain leaving {",
                "type nat hook postrouting priority srcnat; policy accept;",
                "ip saddr " + config.range() + " oifname != " + child + " masquerade",
                "}",
                "}");
        return out.toString();
    }

    /** The rules of the host for its own tap: the internet, and nothing of the host but what it asked. */
    static String hostTap(NetConfig config) {
        StringBuilder out = new StringBuilder();
        List<String> never = new ArrayList<>();
        Rule.NOT_PUBLIC.forEach(range -> never.add(range.toString()));
        never.add(config.range().toString());
        replace(out, TAP_TABLE);
        set(out, "never", never);
        put(
                out,
                "chain to_host {",
                "type filter hook input priority filter; policy accept;",
                "iifname " + TAP + " ct state established,related accept",
                "iifname " + TAP + " drop",
                "}",
                "chain through {",
                "type filter hook forward priority filter; policy accept;",
                "iifname " + TAP + " ip saddr " + config.guest() + " ip daddr != @never accept",
                "iifname " + TAP + " drop",
                "oifname " + TAP + " ct state established,related accept",
                "oifname " + TAP + " drop",
                "}",
                "chain leaving {",
                "type nat hook postrouting priority srcnat; policy accept;",
                "ip saddr " + config.guest() + " oifname != " + TAP + " masquerade",
                "}",
                "}");
        return out.toString();
    }

    static String without(String table) {
        return "table " + table + "\ndelete table " + table + "\n";
    }

    /** Which of the children may reach the host, as far as their own rules go. */
    static String reachesHost(NetConfig config, List<Integer> numbers, boolean may) {
        if (numbers.isEmpty()) {
            return "";
        }
        String elements = numbers.stream().map(config::address).collect(Collectors.joining(", "));
        String add = "add element " + TABLE + " may_reach_host { " + elements + " }\n";
        return may ? add : add + "delete element " + TABLE + " may_reach_host { " + elements + " }\n";
    }

    /** What dnsmasq is told. */
    static String resolver(NetConfig config, NetworkPolicy policy) {
        StringBuilder out = new StringBuilder();
        // Nothing is kept, since an answer that was kept opens nothing. Answers with private addresses are none.
        put(
                out,
                "port=53",
                "listen-address=" + config.gateway(),
                "bind-interfaces",
                "no-resolv",
                "no-hosts",
                "no-poll",
                "cache-size=0",
                "max-ttl=1",
                "filter-AAAA",
                "stop-dns-rebind",
                "user=nobody",
                "pid-file=");
        for (NameSet set : names(policy)) {
            for (String name : set.names()) {
                config.resolvers().forEach(server -> put(out, "server=/" + name + "/" + server));
                put(out, "nftset=/" + name + "/4#inet#forkd#" + set.set());
            }
        }
        return out.toString();
    }
}
