package io.forkd.network;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * Which namespaces were made and who uses them: a text file of lines {@code net NUMBER USER}. The user is a folder, for as
 * long as that exists; {@code -} is nobody. A number is there before anything of it is made, and until nothing of it is
 * left. For whoever holds the lock beside it.
 */
final class NetworkState {
    private static final String NOBODY = "-";

    private final Path file;
    private final Map<Integer, String> users = new TreeMap<>();

    /** What the file has. */
    private List<String> written = List.of();

    /** How many are to be ready for use, and are not taken away. */
    int pool;

    /** What net.ipv4.ip_forward was before the host's rules were set; empty: they are not. */
    Optional<String> forwarding = Optional.empty();

    /** Whether the host's tap was made as well. */
    boolean tap;

    private NetworkState(Path file) {
        this.file = file;
    }

    /** Whether there is anything, were it what a writer that was killed has left. */
    static boolean isThere(Path file) {
        return Files.exists(file) || Files.exists(Trees.staged(file));
    }

    static NetworkState read(Path file) {
        NetworkState state = new NetworkState(file);
        try {
            state.written = Files.readAllLines(file);
            state.written.forEach(line -> state.take(line.split(" ", 3)));
        } catch (NoSuchFileException e) {
            return state;
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        } catch (NumberFormatException | ArrayIndexOutOfBoundsException e) {
            throw new ForkdException(Kind.DAMAGED, file + " is damaged");
        }
        return state;
    }

    private void take(String[] words) {
        switch (words[0]) {
            case "pool" -> pool = Integer.parseInt(words[1]);
            case "forwarding" -> forwarding = Optional.of(words[1]);
            case "tap" -> tap = true;
            case "net" -> users.put(Integer.parseInt(words[1]), words[2]);
            default -> throw new NumberFormatException(words[0]);
        }
    }

    /**
     * Replaces the file if there is something new to tell, so that whoever only looks needs no room on the disk; where there
     * is nothing to tell, there is none.
     */
    void write() {
        List<String> lines = new ArrayList<>();
        if (pool > 0) {
            lines.add("pool " + pool);
        }
        forwarding.ifPresent(value -> lines.add("forwarding " + value));
        if (tap) {
            lines.add("tap");
        }
        users.forEach((number, user) -> lines.add("net " + number + " " + user));
        Path staged = Trees.staged(file);
        try {
            if (lines.isEmpty()) {
                Files.deleteIfExists(file);
                Files.deleteIfExists(staged); // of one that was killed before it could move it
                return;
            }
            if (!lines.equals(written)) {
                Files.write(staged, lines);
                Files.move(staged, file, StandardCopyOption.ATOMIC_MOVE);
            }
            written = lines;
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }

    boolean has(int number) {
        return users.containsKey(number);
    }

    boolean isEmpty() {
        return users.isEmpty();
    }

    /** Those that nobody uses, lowest first. */
    List<Integer> free() {
        return users.entrySet().stream()
                .filter(entry -> entry.getValue().equals(NOBODY))
                .map(Map.Entry::getKey)
                .toList();
    }

    List<Integer> all() {
        return List.copyOf(users.keySet());
    }

    Map<Integer, String> used() {
        Map<Integer, String> used = new TreeMap<>(users);
        used.values().removeIf(NOBODY::equals);
        return used;
    }

    void give(int number, Path user) {
        String text = user.toString();
        if (text.indexOf('\n') >= 0) {
            throw new ForkdException(Kind.FAILED, "a folder's name has a line break: " + text);
        }
        users.put(number, text);
    }

    void free(int number) {
        users.put(number, NOBODY);
    }

    void remove(int number) {
        users.remove(number);
    }
}
