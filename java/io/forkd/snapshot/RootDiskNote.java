package io.forkd.snapshot;

import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * What the image of a snapshot's root disk hashed to when that was read first, or where it came from: a SHA-256 in the
 * snapshot's folder. One that is lost is made again.
 */
public final class RootDiskNote {
    private static final String FILE = ".root-disk";

    private RootDiskNote() {}

    public static Optional<String> read(Snapshot snapshot) {
        try {
            return Optional.of(Files.readString(snapshot.directory().resolve(FILE), StandardCharsets.US_ASCII)
                            .strip())
                    .filter(text -> text.matches("[0-9a-f]{64}"));
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    /**
     * Notes it.
     *
     * @param directory of the snapshot
     */
    public static void write(Path directory, String sha256) {
        Path staged = directory.resolve(FILE + ".new");
        try {
            Files.writeString(staged, sha256 + "\n", StandardCharsets.US_ASCII);
            Trees.rename(staged, directory.resolve(FILE));
        } catch (IOException e) {
            // It is read again.
        }
    }
}
