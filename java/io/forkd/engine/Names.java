package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.Trees;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Sandbox;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Optional;
import java.util.function.BiPredicate;
import java.util.function.Supplier;

/**
 * Which sandbox has which name: a file for each, in a folder for each owner, so that none has to be looked for among all.
 * What counts is what the sandbox itself says: a file of one that says something else, or is gone, is as good as none.
 */
final class Names {
    private static final String LOCK = ".lock";

    /** No user's name begins so. */
    private static final String NOBODY = "-";

    private final Path root;
    private final BiPredicate<String, String> has;

    /** @param has whether the sandbox with that id lives, is paused or is being made, and may have that name */
    Names(Path root, BiPredicate<String, String> has) {
        this.root = root;
        this.has = has;
    }

    private Path file(Optional<String> owner, String name) {
        return root.resolve(owner.orElse(NOBODY)).resolve(name);
    }

    /** The id of the sandbox that the owner has given that name. */
    Optional<String> find(Optional<String> owner, String name) {
        return Naming.isName(name) ? read(file(owner, name)).filter(id -> has.test(id, name)) : Optional.empty();
    }

    private static Optional<String> read(Path file) {
        try {
            return Optional.of(Files.readString(file)).filter(Sandbox::isId);
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    /** Gives a sandbox that is being made that name; fails when another has it. */
    void take(Optional<String> owner, String name, String id) {
        take(owner, name, id, () -> id);
    }

    /** The same for one that does not say so yet, and does when {@code write} has run. */
    <T> T take(Optional<String> owner, String name, String id, Supplier<T> write) {
        Path file = file(owner, name);
        try {
            Files.createDirectories(root.resolve(owner.orElse(NOBODY)));
            try (FileLock alone = FileLock.exclusive(root.resolve(LOCK))) {
                Optional<String> other = read(file).filter(there -> !there.equals(id) && has.test(there, name));
                if (other.isPresent()) {
                    throw new ForkdException(
                            Kind.CONFLICT, "the name '" + name + "' is that of the sandbox " + other.get());
                }
                Path staged = Trees.staged(file);
                Files.writeString(staged, id);
                Files.move(staged, file, StandardCopyOption.ATOMIC_MOVE);
                return write.get();
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }

    /** Of a sandbox that has another, or has ended. */
    void release(Optional<String> owner, String name, String id) {
        try {
            if (Files.exists(root.resolve(LOCK))) {
                try (FileLock alone = FileLock.exclusive(root.resolve(LOCK))) {
                    if (read(file(owner, name)).equals(Optional.of(id))) {
                        Files.deleteIfExists(file(owner, name));
                    }
                }
            }
        } catch (IOException e) {
            // It is as good as none.
        }
    }

    /** Removes what is of no use. */
    void sweep() {
        try {
            for (Path owner : Trees.list(root)) {
                if (Files.isDirectory(owner)) {
                    sweep(owner);
                }
            }
        } catch (IOException e) {
            // The next sweep tries again.
        }
    }

    private void sweep(Path owner) throws IOException {
        for (Path file : Trees.list(owner)) {
            String name = String.valueOf(file.getFileName());
            if (!isUsed(file, name)) {
                try (FileLock alone = FileLock.exclusive(root.resolve(LOCK))) {
                    if (!isUsed(file, name)) {
                        Files.deleteIfExists(file);
                    }
                } catch (NoSuchFileException e) {
                    return; // The folder is gone.
                }
            }
        }
    }

    private boolean isUsed(Path file, String name) {
        return read(file).filter(id -> has.test(id, name)).isPresent();
    }
}
