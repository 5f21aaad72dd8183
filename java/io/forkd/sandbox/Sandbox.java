package io.forkd.sandbox;

import io.forkd.Limits;
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
 * {@code control.sock}, {@code agent.vsock} and the {@code snapshot.json} of what it was forked from.
 *
 * @param snapshot what it was forked from
 * @param base the snapshot whose files its memory is mapped from; another one when it was forked from a branch that was
 *     not on disk yet
 * @param startTime of its process; earlier versions did not write it down
 * @param network what is enforced in that namespace; empty when it was made by others
 * @param memoryLimitMib of its cgroup
 * @param limits that were said, for it or for its snapshot
 * @param volumes images that it has attached for writing
 * @param branches how many have been made of it
 * @param lastBranch the folder of the last one
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
        OptionalLong memoryLimitMib,
        Limits limits,
        List<Path> volumes,
        Instant createdAt,
        int branches,
        Optional<Path> lastBranch) {
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

    /** Whose it is, in its maker's words, from before it is made; without an owner there is no such file. */
    public static Path owner(Path directory) {
        return directory.resolve("owner");
    }

    public Sandbox withNetwork(NetworkPolicy policy) {
        return with(Optional.of(policy), branches, lastBranch);
    }

    public Sandbox withOneMoreBranch(Path branch) {
        return with(network, branches + 1, Optional.of(branch));
    }

    private Sandbox with(Optional<NetworkPolicy> policy, int branched, Optional<Path> last) {
        return new Sandbox(
                id,
                directory,
                snapshot,
                base,
                pid,
                startTime,
                netns,
                policy,
                memoryLimitMib,
                limits,
                volumes,
                createdAt,
                branched,
                last);
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
                        json.count("memory_limit_mib"),
                        json.limits(),
                        json.paths("volumes"),
                        json.instant("created_at"),
                        json.number("branches"),
                        json.text("last_branch").map(Path::of)));
    }

    /** Puts the file in place, or replaces it. */
    public void write() {
        stage();
        place(directory);
    }

    /** Whether {@link #stage} has been called for it, and {@link #place} has not. */
    public static boolean isStaged(Path directory) {
        return Files.exists(RuntimeFile.staged(file(directory)));
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
        memoryLimitMib.ifPresent(mib -> node.put("memory_limit_mib", mib));
        limits.put(node);
        ArrayNode array = node.putArray("volumes");
        volumes.forEach(volume -> array.add(volume.toString()));
        node.put("created_at", createdAt.toString()).put("branches", branches);
        lastBranch.ifPresent(branch -> node.put("last_branch", branch.toString()));
        RuntimeFile.stage(file(directory), node);
    }

    public static Path file(Path directory) {
        return directory.resolve("sandbox.json");
    }
}
