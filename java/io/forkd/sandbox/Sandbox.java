package io.forkd.sandbox;

import io.forkd.Limits;
import io.forkd.files.Trees;
import io.forkd.network.NetworkPolicy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.regex.Pattern;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * A VM that outlives the command that made it, as {@code sandbox.json} in its directory says. Beside that are
 * {@code control.sock}, {@code agent.vsock}, {@code console.log} and the {@code snapshot.json} of what it was forked from.
 *
 * @param snapshot what it was forked from
 * @param base the snapshot whose files its memory is mapped from; another one when it was forked from a branch that was
 *     not on disk yet
 * @param startTime of its process; earlier versions did not write it down
 * @param network what is enforced in that namespace; empty when it was made by others
 * @param cgroup that it was put into; without one there was no limit that needs it
 * @param limits that were said, for it or for its snapshot
 * @param volumes images that it has attached for writing
 * @param branches how many have been made of it
 * @param lastBranch the folder of the last one
 * @param naming what people and programs call it
 * @param pool that it is ready in, or was taken of
 */
public record Sandbox(
        String id,
        Path directory,
        Origin snapshot,
        Origin base,
        int pid,
        OptionalLong startTime,
        Optional<String> netns,
        Optional<NetworkPolicy> network,
        Optional<Path> cgroup,
        Limits limits,
        List<Path> volumes,
        Instant createdAt,
        int branches,
        Optional<Path> lastBranch,
        Lifetime lifetime,
        Naming naming,
        Optional<Membership> pool) {
    public static final String PREFIX = "sb-";

    /** When it was made, in hexadecimal seconds, and something that tells it from others; earlier versions had no time. */
    private static final Pattern ID = Pattern.compile(PREFIX + "[0-9a-f]{8}(-[0-9a-f]{8})?");

    public Sandbox {
        volumes = List.copyOf(volumes);
    }

    /** What the name of a new one's folder begins with. */
    public static String prefix(Instant now) {
        return PREFIX + Long.toHexString(now.getEpochSecond()) + "-";
    }

    public static boolean isId(String text) {
        return ID.matcher(text).matches();
    }

    public static Path vsock(Path directory) {
        return RuntimeDirectory.socket(directory, "agent");
    }

    public Path vsock() {
        return vsock(directory);
    }

    public Path control() {
        return RuntimeDirectory.control(directory);
    }

    /** Its process, if it has not ended. */
    public Optional<ProcessId> process() {
        return startTime.isPresent()
                ? Optional.of(new ProcessId(pid, startTime.getAsLong()))
                : ProcessId.listeningAt(control());
    }

    /** The manifest of the snapshot that it was forked from. */
    public static Path manifest(Path directory) {
        return directory.resolve("snapshot.json");
    }

    /** Which network namespace it has, from before it is made; without one there is no such file. */
    public static Path namespace(Path directory) {
        return directory.resolve("netns");
    }

    /** What its guest writes to its console; begun anew when it is resumed. */
    public static Path console(Path directory) {
        return directory.resolve("console.log");
    }

    /** Whose it is, in its maker's words, from before it is made; without an owner there is no such file. */
    public static Path owner(Path directory) {
        return directory.resolve("owner");
    }

    public Sandbox withNetwork(NetworkPolicy policy) {
        return with(Optional.of(policy), branches, lastBranch, lifetime, naming, pool);
    }

    public Sandbox withOneMoreBranch(Path branch) {
        return with(network, branches + 1, Optional.of(branch), lifetime, naming, pool);
    }

    /** As it is when it has been resumed. */
    public Sandbox awake(
            Path folder,
            Origin memory,
            int process,
            long started,
            Optional<String> namespace,
            Optional<NetworkPolicy> policy,
            Optional<Path> group,
            List<Path> written) {
        return new Sandbox(
                id,
                folder,
                snapshot,
                memory,
                process,
                OptionalLong.of(started),
                namespace,
                policy,
                group,
                limits,
                written,
                createdAt,
                branches,
                lastBranch,
                lifetime.begun(Instant.now()),
                naming,
                pool);
    }

    /** As what tells of it is kept in another folder while it has no process. */
    public Sandbox asleep(Path folder) {
        return new Sandbox(
                id,
                folder,
                snapshot,
                base,
                pid,
                startTime,
                netns,
                network,
                Optional.empty(),
                limits,
                volumes,
                createdAt,
                branches,
                lastBranch,
                lifetime,
                naming,
                pool);
    }

    public Sandbox withLifetime(Lifetime other) {
        return with(network, branches, lastBranch, other, naming, pool);
    }

    public Sandbox withNaming(Naming other) {
        return with(network, branches, lastBranch, lifetime, other, pool);
    }

    public Sandbox withPool(Membership.State state) {
        return with(network, branches, lastBranch, lifetime, naming, pool.map(member -> member.in(state)));
    }

    /** Whether it is a pool's which nobody has taken it of: it is not to be used. */
    public boolean isPools() {
        return pool.filter(member -> !member.is(Membership.State.TAKEN)).isPresent();
    }

    private Sandbox with(
            Optional<NetworkPolicy> policy,
            int branched,
            Optional<Path> last,
            Lifetime life,
            Naming called,
            Optional<Membership> member) {
        return new Sandbox(
                id, directory, snapshot, base, pid, startTime, netns, policy, cgroup, limits, volumes, createdAt,
                branched, last, life, called, member);
    }

    /** Empty when there is no such file: the sandbox is being made, or its maker died. */
    public static Optional<Sandbox> read(Path directory) {
        return RuntimeFile.read(file(directory))
                .map(json -> new Sandbox(
                        String.valueOf(directory.getFileName()),
                        directory,
                        json.origin("snapshot"),
                        json.origin("base"),
                        json.number("pid"),
                        json.count("start_time"),
                        json.text("netns"),
                        json.network("network"),
                        json.text("cgroup").map(Path::of),
                        json.limits(),
                        json.paths("volumes"),
                        json.instant("created_at"),
                        json.number("branches"),
                        json.text("last_branch").map(Path::of),
                        json.lifetime("lifetime"),
                        json.naming(),
                        Membership.read(json.root().path("pool"))));
    }

    /** Puts the file in place, or replaces it. */
    public void write() {
        stage();
        place(directory);
    }

    /** Whether {@link #stage} has been called for it, and {@link #place} has not. */
    public static boolean isStaged(Path directory) {
        return Files.exists(Trees.staged(file(directory)));
    }

    /** Has what was staged count. */
    public static void place(Path directory) {
        RuntimeFile.place(file(directory));
    }

    /** Writes the file, which does not count yet. */
    public void stage() {
        ObjectNode node = RuntimeFile.node();
        RuntimeFile.put(node, "snapshot", snapshot);
        RuntimeFile.put(node, "base", base);
        node.put("pid", pid);
        startTime.ifPresent(ticks -> node.put("start_time", ticks));
        netns.ifPresent(name -> node.put("netns", name));
        network.ifPresent(policy -> node.set("network", policy.toJson()));
        cgroup.ifPresent(group -> node.put("cgroup", group.toString()));
        limits.put(node);
        ArrayNode array = node.putArray("volumes");
        volumes.forEach(volume -> array.add(volume.toString()));
        node.put("created_at", createdAt.toString()).put("branches", branches);
        lastBranch.ifPresent(branch -> node.put("last_branch", branch.toString()));
        if (!lifetime.equals(Lifetime.ENDLESS)) {
            lifetime.write(node.putObject("lifetime"));
        }
        naming.put(node);
        pool.ifPresent(member -> member.write(node.putObject("pool")));
        RuntimeFile.stage(file(directory), node);
    }

    public static Path file(Path directory) {
        return directory.resolve("sandbox.json");
    }
}
