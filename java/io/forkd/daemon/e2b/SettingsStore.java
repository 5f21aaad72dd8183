package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.DateTimeException;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Predicate;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import tools.jackson.core.JacksonException;

/**
 * A file for each sandbox that was made by E2B's interface. It is there from before anybody is told of the sandbox, and
 * goes after it. Any thread may use it.
 */
final class SettingsStore {
    private static final String END = ".json";

    private static final int TURNS = 64;

    private final Path directory;

    /** What is done with a file is done by one after the other; a few files share one. */
    private final List<Object> turns = Stream.generate(Object::new).limit(TURNS).toList();

    /** Whose token each is. */
    private final Map<String, String> ids = new ConcurrentHashMap<>();

    SettingsStore(Path directory) {
        this.directory = directory;
    }

    /** The id of the sandbox whose token fits. */
    Optional<String> idOf(Predicate<String> token) {
        return ids.entrySet().stream()
                .filter(each -> token.test(each.getKey()))
                .map(Map.Entry::getValue)
                .findFirst();
    }

    private Path file(String id) {
        return directory.resolve(id + END);
    }

    /** Of the engine's id; empty when the sandbox is not one of E2B's. */
    Optional<Settings> find(String id) {
        try {
            return Optional.of(Settings.decode(Files.readAllBytes(file(id))));
        } catch (NoSuchFileException e) {
            return Optional.empty();
        } catch (IOException e) {
            throw ForkdException.of("read " + file(id), e);
        } catch (JacksonException | DateTimeException e) {
            throw new ForkdException(Kind.DAMAGED, file(id) + " is damaged: " + e.getMessage());
        }
    }

    private Object turn(String id) {
        return turns.get(Math.floorMod(id.hashCode(), TURNS));
    }

    /** @param durable whether it has to be there after this machine's next start, as a paused sandbox is */
    void put(String id, Settings settings, boolean durable) {
        synchronized (turn(id)) {
            write(id, settings, durable);
        }
    }

    /** The same of what it is then; nothing when the sandbox has ended meanwhile. */
    void change(String id, UnaryOperator<Settings> change, boolean durable) {
        synchronized (turn(id)) {
            find(id).ifPresent(now -> write(id, change.apply(now), durable));
        }
    }

    private void write(String id, Settings settings, boolean durable) {
        Path staged = Trees.staged(file(id));
        try {
            Trees.makePrivate(directory);
            Files.deleteIfExists(staged);
            Files.createFile(staged, Trees.PRIVATE_FILE);
            Files.write(staged, settings.encode());
            if (durable) {
                Trees.sync(staged);
                Trees.rename(staged, file(id));
            } else {
                Files.move(staged, file(id), StandardCopyOption.ATOMIC_MOVE);
            }
            ids.put(settings.token(), id);
        } catch (IOException e) {
            remove(staged);
            throw ForkdException.of("write " + file(id), e);
        }
    }

    /** One that stays is in nobody's way, and goes at the next start. */
    private static void remove(Path file) {
        try {
            Files.deleteIfExists(file);
        } catch (IOException e) {
            // As said.
        }
    }

    /** Of a sandbox that has ended. */
    void forget(String id) {
        synchronized (turn(id)) {
            ids.values().remove(id);
            remove(file(id));
        }
    }

    private void know(String id) {
        try {
            find(id).ifPresent(settings -> ids.put(settings.token(), id));
        } catch (ForkdException e) {
            // Who asks for that sandbox is told. The others are served.
        }
    }

    /** Removes those of sandboxes that are no more, and knows the others: at a start. Whoever ended them may know nothing of it. */
    void sweep(Predicate<String> isThere) {
        List<Path> files;
        try {
            files = Files.isDirectory(directory) ? Trees.list(directory) : List.of();
        } catch (IOException e) {
            throw ForkdException.of("list " + directory, e);
        }
        for (Path path : files) {
            String name = String.valueOf(path.getFileName());
            if (name.endsWith(END)) {
                String id = name.substring(0, name.length() - END.length());
                if (isThere.test(id)) {
                    know(id);
                } else {
                    forget(id);
                }
            }
        }
    }
}
