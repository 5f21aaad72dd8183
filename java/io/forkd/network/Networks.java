package io.forkd.network;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import java.io.IOException;
import java.net.Inet4Address;
import java.net.InterfaceAddress;
import java.net.NetworkInterface;
import java.net.SocketException;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;

/**
 * Network namespaces for children: made when they are needed or before, given out, and taken back. What is in use is
 * written down before it is made, with the folder of who uses it: when that folder is gone, whoever looks next takes the
 * namespace back. So a process may die at any moment. Safe for use by several threads, and beside other processes.
 */
public final class Networks implements AutoCloseable {
    /** Of the host, whoever's sandboxes they are for: their names are the host's, too. */
    public static final Path ROOT = Path.of("/run/forkd-net");

    public static final Path NAMESPACES = Path.of("/run/netns");

    /** The tap device of the host, and of each namespace. */
    public static final String TAP = NetConfig.TAP;

    private static final Path DEVICES = Path.of("/sys/class/net");
    private static final Path TUN = Path.of("/dev/net/tun");
    private static final Path FORWARDING = Path.of("/proc/sys/net/ipv4/ip_forward");
    private static final List<Path> DNSMASQ = List.of(Path.of("/usr/sbin/dnsmasq"), Path.of("/usr/bin/dnsmasq"));
    private static final String MAKER = "maker-";
    private static final SecureRandom RANDOM = new SecureRandom();

    private final Path root;
    private final Path namespaces;
    private final Supplier<NetConfig> config;
    private final Supplier<List<String>> command;
    private final Forwarding forwarding;
    private Optional<NetHelper> helper = Optional.empty();

    /** Whether packets that come in on one device go out on another. */
    interface Forwarding {
        String read() throws IOException;

        void write(String value) throws IOException;
    }

    /** @param command that starts forkd-net */
    public Networks(Map<String, String> environment, Supplier<List<String>> command) {
        this(ROOT, NAMESPACES, () -> NetConfig.of(environment), command, ofHost());
    }

    Networks(
            Path root,
            Path namespaces,
            Supplier<NetConfig> config,
            Supplier<List<String>> command,
            Forwarding forwarding) {
        this.root = root;
        this.namespaces = namespaces;
        this.config = config;
        this.command = command;
        this.forwarding = forwarding;
    }

    private static Forwarding ofHost() {
        return new Forwarding() {
            @Override
            public String read() throws IOException {
                return Files.readString(FORWARDING).strip();
            }

            @Override
            public void write(String value) throws IOException {
                Files.writeString(FORWARDING, value);
            }
        };
    }

    /**
     * What there is.
     *
     * @param wanted how many are kept ready
     * @param used by number, and by which folder
     */
    public record Status(
            int wanted,
            List<String> ready,
            Map<String, String> used,
            boolean hostRules,
            boolean tap,
            String range,
            List<String> resolvers) {}

    // ---- Giving out, and taking back

    /** A namespace for each folder, in order; those that are not ready are made. All of them, or none. */
    public List<String> take(List<Path> users, NetworkPolicy policy) {
        NetConfig how = config.get();
        requireResolver(how, policy);
        Set<Path> owners = new HashSet<>(users);
        List<Integer> numbers = new ArrayList<>();
        List<Integer> made = new ArrayList<>();
        locked(state -> {
            prepareHost(state, how);
            List<Integer> free = state.free();
            numbers.addAll(free.subList(0, Math.min(free.size(), users.size())));
            made.addAll(unused(state, how, users.size() - numbers.size()));
            numbers.addAll(made);
            for (int i = 0; i < users.size(); i++) {
                state.give(numbers.get(i), users.get(i));
            }
            return true;
        });
        try {
            make(made, policy, how);
            if (!policy.equals(NetworkPolicy.INTERNET)) {
                numbers.stream()
                        .filter(number -> !made.contains(number))
                        .forEach(number -> helper().ask("rules " + NetConfig.name(number), rules(number, policy, how)));
            }
            if (policy.reachesHost()) {
                helper().ask("rules -", Ruleset.reachesHost(how, numbers, true));
            }
            if (!policy.named().isEmpty()) {
                numbers.forEach(number -> resolve(number, policy, how));
            }
        } catch (ForkdException e) {
            release(owners);
            throw e;
        }
        return numbers.stream().map(NetConfig::name).toList();
    }

    /** Takes back what these folders have. */
    public void release(Collection<Path> users) {
        Set<String> names = new HashSet<>();
        users.forEach(user -> names.add(user.toString()));
        takeBack(names::contains);
    }

    /** Takes back what folders have that are no more, and what was being made when its maker died. */
    public void sweep() {
        try {
            if (Files.isDirectory(root)) {
                OwnedDirectory.sweep(root, MAKER);
            }
        } catch (IOException e) {
            throw unable("look through " + root, e);
        }
        takeBack(user -> !Files.exists(Path.of(user)));
        if (NetworkState.isThere(file())) {
            locked(this::cleanHost);
        }
    }

    private void takeBack(Predicate<String> whose) {
        if (!Files.exists(file())) {
            return;
        }
        try (OwnedDirectory maker = maker()) {
            List<Integer> back = locked(state -> {
                List<Integer> found = new ArrayList<>();
                state.used().forEach((number, user) -> {
                    if (whose.test(user)) {
                        state.give(number, maker.path());
                        found.add(number);
                    }
                });
                return found;
            });
            if (back.isEmpty()) {
                return;
            }
            List<Integer> kept = new ArrayList<>(back.subList(0, Math.min(back.size(), missing())));
            kept.removeAll(renew(kept));
            back.removeAll(kept);
            remove(back);
            locked(state -> {
                kept.forEach(state::free);
                back.forEach(state::remove);
                return cleanHost(state);
            });
        }
    }

    /** How many more are to be ready. */
    private int missing() {
        return locked(state -> Math.max(0, state.pool - state.free().size()));
    }

    /** Has as many ready as are wanted. */
    public void fill() {
        NetConfig how = config.get();
        if (!Files.exists(file())) {
            return;
        }
        try (OwnedDirectory maker = maker()) {
            List<Integer> numbers = locked(state -> {
                prepareHost(state, how);
                List<Integer> unused =
                        unused(state, how, Math.max(0, state.pool - state.free().size()));
                unused.forEach(number -> state.give(number, maker.path()));
                return unused;
            });
            try {
                make(numbers, NetworkPolicy.INTERNET, how);
            } catch (ForkdException e) {
                takeBack(maker.path().toString()::equals);
                throw e;
            }
            locked(state -> {
                numbers.forEach(state::free);
                return true;
            });
        }
    }

    private OwnedDirectory maker() {
        try {
            makeRoot();
            return OwnedDirectory.create(root, MAKER + ProcessHandle.current().pid() + "-");
        } catch (IOException e) {
            throw unable("make a folder in " + root, e);
        }
    }

    /** Numbers of which there is nothing, neither of ours nor of others. */
    private List<Integer> unused(NetworkState state, NetConfig how, int count) {
        List<Integer> numbers = new ArrayList<>();
        for (int number = 1; numbers.size() < count; number++) {
            if (number > how.most()) {
                throw new ForkdException(
                        Kind.FAILED,
                        "there are addresses for " + how.most() + " networks in " + how.range()
                                + ", and all are in use",
                        "FORKD_NET_RANGE names a larger range.");
            }
            if (!state.has(number) && !Files.exists(namespaces.resolve(NetConfig.name(number)))) {
                numbers.add(number);
            }
        }
        return numbers;
    }

    private void make(List<Integer> numbers, NetworkPolicy policy, NetConfig how) {
        for (int number : numbers) {
            helper().ask(
                            "make " + NetConfig.name(number) + " " + NetConfig.TAP + " " + how.gateway() + " 24 "
                                    + NetConfig.uplink(number) + " " + how.address(number) + " " + how.nextHop(),
                            rules(number, policy, how));
        }
    }

    /**
     * As if they had just been made.
     *
     * @return those that cannot be: a process that a guest has taken over may have left another, which still has the tap
     */
    private List<Integer> renew(List<Integer> numbers) {
        NetConfig how = config.get();
        List<Integer> held = new ArrayList<>();
        for (int number : numbers) {
            endResolver(number);
            try {
                helper().ask("forget " + NetConfig.name(number) + " " + NetConfig.TAP);
                helper().ask("rules " + NetConfig.name(number), rules(number, NetworkPolicy.INTERNET, how));
            } catch (ForkdException e) {
                held.add(number);
            }
        }
        forbidHost(numbers, how);
        return held;
    }

    private void remove(List<Integer> numbers) {
        for (int number : numbers) {
            endResolver(number);
            helper().ask("remove " + NetConfig.name(number) + " " + NetConfig.uplink(number));
        }
        if (!numbers.isEmpty()) {
            helper().ask("sweep -");
            forbidHost(numbers, config.get());
        }
    }

    private void forbidHost(List<Integer> numbers, NetConfig how) {
        if (!numbers.isEmpty() && hostRules()) {
            helper().ask("rules -", Ruleset.reachesHost(how, numbers, false));
        }
    }

    private String rules(int number, NetworkPolicy policy, NetConfig how) {
        return Ruleset.child(how, number, policy, 1 + RANDOM.nextInt(Integer.MAX_VALUE - 1), local());
    }

    /** The host's own addresses, which are public as often as not. */
    private static List<String> local() {
        try {
            Set<String> found = new HashSet<>();
            for (NetworkInterface device : Collections.list(NetworkInterface.getNetworkInterfaces())) {
                for (InterfaceAddress address : device.getInterfaceAddresses()) {
                    if (address.getAddress() instanceof Inet4Address) {
                        found.add(address.getAddress().getHostAddress());
                    }
                }
            }
            return List.copyOf(found);
        } catch (SocketException e) {
            throw ForkdException.of("list the addresses of this machine", e);
        }
    }

    // ---- What a child may reach

    /** Whether this one is of ours, and somebody's. */
    public boolean isUsed(String name) {
        return Files.exists(file())
                && locked(state -> number(name).filter(state.used()::containsKey))
                        .isPresent();
    }

    /** Has a namespace that was taken follow another policy from now on, open connections included. */
    public void set(String name, NetworkPolicy policy) {
        NetConfig how = config.get();
        requireResolver(how, policy);
        int number = number(name)
                .filter(one -> locked(state -> state.used().containsKey(one)))
                .orElseThrow(() -> new ForkdException(
                        Kind.CONFLICT,
                        "the network namespace " + name + " was made by somebody else, who sets its rules"));
        // What becomes closed is closed first.
        if (!policy.reachesHost()) {
            forbidHost(List.of(number), how);
        }
        if (policy.named().isEmpty()) {
            endResolver(number);
        }
        helper().ask("rules " + name, rules(number, policy, how));
        if (policy.reachesHost()) {
            helper().ask("rules -", Ruleset.reachesHost(how, List.of(number), true));
        }
        if (!policy.named().isEmpty()) {
            resolve(number, policy, how);
        }
    }

    private static Optional<Integer> number(String name) {
        String digits = name.startsWith(NetConfig.CHILD) ? name.substring(NetConfig.CHILD.length()) : "";
        return digits.matches("[1-9][0-9]{0,5}") ? Optional.of(Integer.parseInt(digits)) : Optional.empty();
    }

    private static Optional<Path> dnsmasq() {
        return DNSMASQ.stream().filter(Files::isExecutable).findFirst();
    }

    private static void requireResolver(NetConfig how, NetworkPolicy policy) {
        if (policy.named().isEmpty()) {
            return;
        }
        if (dnsmasq().isEmpty()) {
            throw new ForkdException(
                    Kind.FAILED,
                    "a network policy with names needs dnsmasq, and there is none in /usr/sbin",
                    "apt-get install dnsmasq-base, as root.");
        }
        if (how.resolvers().isEmpty()) {
            throw new ForkdException(
                    Kind.FAILED,
                    "a network policy with names needs a resolver to ask, and /etc/resolv.conf names none but on loopback",
                    "FORKD_NET_RESOLVERS=ADDRESS names one.");
        }
    }

    private void resolve(int number, NetworkPolicy policy, NetConfig how) {
        Path file = resolverFile(number);
        try {
            Files.writeString(file, Ruleset.resolver(how, policy));
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
        helper().ask("resolver " + NetConfig.name(number) + " " + dnsmasq().orElseThrow() + " " + file);
    }

    private void endResolver(int number) {
        Path file = resolverFile(number);
        if (Files.exists(file)) {
            helper().ask("quiet " + NetConfig.name(number));
            try {
                Files.deleteIfExists(file);
            } catch (IOException e) {
                throw ForkdException.of("remove " + file, e);
            }
        }
    }

    private Path resolverFile(int number) {
        return root.resolve("resolver-" + number + ".conf");
    }

    // ---- The host

    /** Its rules, which somebody may have removed with all others. */
    private void prepareHost(NetworkState state, NetConfig how) {
        try {
            boolean known = hostRules();
            if (state.forwarding.isEmpty()) {
                state.forwarding = Optional.of(forwarding.read());
                state.write();
            }
            if (!known) {
                helper().ask("rules -", Ruleset.host(how));
            }
            if (!forwarding.read().equals("1")) {
                forwarding.write("1");
            }
        } catch (IOException e) {
            throw ForkdException.of("turn on net.ipv4.ip_forward", e);
        }
    }

    private boolean hostRules() {
        try {
            helper().ask("rules -", "list table " + Ruleset.TABLE);
            return true;
        } catch (ForkdException e) {
            if (e.sentence().contains("No such file")) {
                return false;
            }
            throw e;
        }
    }

    /** Nothing stays of what only namespaces needed. */
    private boolean cleanHost(NetworkState state) {
        if (!state.isEmpty() || state.pool > 0 || state.tap || state.forwarding.isEmpty()) {
            return false;
        }
        helper().ask("rules -", Ruleset.without(Ruleset.TABLE));
        try {
            if (!forwarding.read().equals(state.forwarding.get())) {
                forwarding.write(state.forwarding.get());
            }
        } catch (IOException e) {
            throw ForkdException.of("set net.ipv4.ip_forward", e);
        }
        state.forwarding = Optional.empty();
        return true;
    }

    /** Has the host's rules set, its tap made, and so many namespaces ready from now on. */
    public void setUp(int wanted, Optional<Integer> tapOwner) {
        NetConfig how = config.get();
        locked(state -> {
            prepareHost(state, how);
            state.pool = wanted;
            return true;
        });
        tapOwner.ifPresent(this::setUpTap);
        fill();
    }

    /** Has the host's tap, which one VM can use at a time: the one that is there, or one that is made now. */
    public void requireTap() {
        Objects.requireNonNull(config.get(), "what is wrong in it is told whether the tap is there or has to be made");
        if (!Files.exists(DEVICES.resolve(TAP))) {
            setUpTap(0);
            return;
        }
        if (read(DEVICES.resolve(TAP).resolve("carrier")).equals("1")) {
            throw new ForkdException(Kind.CONFLICT, "another VM has " + TAP);
        }
        int us = Trees.ourUid();
        if (us != 0 && !read(DEVICES.resolve(TAP).resolve("owner")).equals(Integer.toString(us))) {
            throw new ForkdException(Kind.FAILED, TAP + " is another user's");
        }
    }

    /** That the host's tap is one that forkd has made, with its rules, and that children can have networks like it. */
    public void requireOwnTap() {
        if (Trees.ourUid() != 0) {
            throw new ForkdException(Kind.FAILED, "networks of users are made by root");
        }
        if (!status().tap()) {
            throw new ForkdException(Kind.FAILED, TAP + " was made by somebody else, and may reach what it likes");
        }
    }

    /** What a device says of itself; nothing when it cannot say. */
    private static String read(Path file) {
        try {
            return Files.readString(file).strip();
        } catch (IOException e) {
            return "";
        }
    }

    private void setUpTap(int owner) {
        locked(state -> {
            prepareHost(state, config.get());
            state.tap = true;
            state.write();
            makeTap(owner);
            return true;
        });
    }

    /** With rules of its own: what others made at that name keeps theirs. */
    private void makeTap(int owner) {
        NetConfig how = config.get();
        helper().ask("rules -", Ruleset.hostTap(how));
        helper().ask("tap " + NetConfig.TAP + " " + how.gateway() + " 24 " + owner);
    }

    /** Removes all that was made. Refused while something uses it, unless {@code force}. */
    public void tearDown(boolean force) {
        sweep();
        if (!Files.exists(file())) {
            return;
        }
        locked(state -> {
            Map<Integer, String> used = state.used();
            if (!used.isEmpty() && !force) {
                throw new ForkdException(
                        Kind.CONFLICT,
                        used.size() + " of the networks are in use, by "
                                + used.values().iterator().next() + (used.size() > 1 ? " and others" : ""),
                        Remedy.Action.END_USERS_OR_FORCE);
            }
            state.pool = 0;
            state.write();
            List<Integer> all = state.all();
            remove(all);
            all.forEach(state::remove);
            if (state.tap) {
                helper().ask("sweep " + NetConfig.TAP);
                helper().ask("rules -", Ruleset.without(Ruleset.TAP_TABLE));
                state.tap = false;
            }
            return cleanHost(state);
        });
    }

    public Status status() {
        NetConfig how = config.get();
        if (Files.isDirectory(root) && !Files.isReadable(root)) {
            throw NetHelper.notRoot("cannot read " + root + ": permission denied");
        }
        if (!Files.exists(file())) {
            return new Status(0, List.of(), Map.of(), false, false, how.range().toString(), how.resolvers());
        }
        return locked(state -> {
            Map<String, String> used = new HashMap<>();
            state.used().forEach((number, user) -> used.put(NetConfig.name(number), user));
            return new Status(
                    state.pool,
                    state.free().stream().map(NetConfig::name).toList(),
                    used,
                    hostRules(),
                    state.tap,
                    how.range().toString(),
                    how.resolvers());
        });
    }

    /** Namespaces called as ours are that others made, for children to use: by number. */
    public List<Integer> foreign() {
        Set<Integer> ours = Files.exists(file()) ? locked(state -> new HashSet<>(state.all())) : Set.of();
        try {
            return (Files.isDirectory(namespaces) ? Trees.list(namespaces) : List.<Path>of())
                    .stream()
                            .map(path -> number(String.valueOf(path.getFileName())))
                            .flatMap(Optional::stream)
                            .filter(number -> !ours.contains(number))
                            .sorted()
                            .toList();
        } catch (IOException e) {
            throw ForkdException.of("list " + namespaces, e);
        }
    }

    /** Why there can be no networks here; empty when there can. Changes nothing. */
    public Optional<ForkdException> obstacle() {
        try {
            NetConfig unused = config.get();
            helper().ask("rules -", "list tables");
            if (!Files.exists(TUN)) {
                return Optional.of(NetHelper.noTun("networks of children need " + TUN + ", which is not there"));
            }
            return Files.isWritable(FORWARDING)
                    ? Optional.empty()
                    : Optional.of(NetHelper.readOnly(FORWARDING + " cannot be written to"));
        } catch (ForkdException e) {
            return Optional.of(e);
        }
    }

    /** Whether names can be in a policy: empty, or why not. */
    public Optional<ForkdException> nameObstacle() {
        try {
            requireResolver(config.get(), NetworkPolicy.parse(List.of("example.com")));
            return Optional.empty();
        } catch (ForkdException e) {
            return Optional.of(e);
        }
    }

    // ---- Files

    private Path file() {
        return root.resolve("state");
    }

    private void makeRoot() throws IOException {
        if (!Files.isDirectory(root)) {
            Files.createDirectories(root.getParent());
            Trees.makePrivate(root);
        }
    }

    private static ForkdException unable(String doing, IOException cause) {
        return cause instanceof AccessDeniedException
                ? NetHelper.notRoot("cannot " + doing + ": permission denied")
                : ForkdException.of(doing, cause);
    }

    /** Reads what there is, and writes what {@code job} makes of it; nobody else does meanwhile. */
    private <T> T locked(Function<NetworkState, T> job) {
        try {
            makeRoot();
        } catch (IOException e) {
            throw unable("make " + root, e);
        }
        try (FileLock lock = FileLock.exclusive(root.resolve(OwnedDirectory.LOCK))) {
            NetworkState state = NetworkState.read(file());
            T result = job.apply(state);
            state.write();
            return result;
        } catch (IOException e) {
            throw unable("lock " + root, e);
        }
    }

    private synchronized NetHelper helper() {
        NetHelper running = helper.filter(NetHelper::isAlive).orElseGet(() -> NetHelper.start(command.get()));
        helper = Optional.of(running);
        return running;
    }

    @Override
    public synchronized void close() {
        helper.ifPresent(NetHelper::close);
        helper = Optional.empty();
    }
}
