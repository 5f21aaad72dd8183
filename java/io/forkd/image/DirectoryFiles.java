package io.forkd.image;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/** The files of a folder. Names come out of digests only, so they do not lead out of it. */
record DirectoryFiles(Path directory) implements NamedFiles {
    @Override
    public InputStream open(String name) throws IOException {
        Path file = directory.resolve(name).normalize();
        if (!file.startsWith(directory.normalize())) {
            throw new NoSuchFileException(file.toString());
        }
        return Files.newInputStream(file);
    }

    @Override
    public String place() {
        return directory.toString();
    }
}
