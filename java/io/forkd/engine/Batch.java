package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.files.Trees;
import io.forkd.sandbox.Sandbox;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;

/**
 * Makes sandboxes of one call be there all at once, whatever dies when: each has a file that does not count yet, then a
 * note names them, and from then on whoever finds one gives its file the name that counts.
 */
final class Batch {
    private static final String NOTE = ".batch-";

    private Batch() {}

    /** @param staged whose folders their maker owns until this returns */
    static void place(Path root, List<Sandbox> staged) {
        if (staged.size() < 2) {
            staged.forEach(sandbox -> Sandbox.place(sandbox.directory()));
            return;
        }
        Path note = root.resolve(NOTE + staged.get(0).id());
        Path written = root.resolve(".new" + note.getFileName());
        try {
            Files.write(written, staged.stream().map(Sandbox::id).toList());
            Files.move(written, note, StandardCopyOption.ATOMIC_MOVE);
            staged.forEach(sandbox -> Sandbox.place(sandbox.directory()));
            Files.delete(note);
        } catch (IOException e) {
            throw ForkdException.of("write " + note, e);
        }
    }

    /** Does for one what its maker died over; false when it had not come so far. */
    static boolean complete(Path root, Path directory) throws IOException {
        if (!Sandbox.isStaged(directory)) {
            return false;
        }
        String id = String.valueOf(directory.getFileName());
        for (Path note : notes(root)) {
            if (ids(note).contains(id)) {
                Sandbox.place(directory);
                return true;
            }
        }
        return false;
    }

    /** Removes the notes whose sandboxes all have their files, or are gone. */
    static void sweep(Path root) throws IOException {
        for (Path note : notes(root)) {
            if (ids(note).stream().noneMatch(id -> Sandbox.isStaged(root.resolve(id)))) {
                Files.deleteIfExists(note);
            }
        }
    }

    private static List<Path> notes(Path root) throws IOException {
        return Trees.list(root).stream()
                .filter(entry -> String.valueOf(entry.getFileName()).startsWith(NOTE))
                .toList();
    }

    private static List<String> ids(Path note) throws IOException {
        try {
            return Files.readAllLines(note).stream().filter(Sandbox::isId).toList();
        } catch (NoSuchFileException e) {
            return List.of(); // Its maker has done it, just now.
        }
    }
}
