package io.forkd.hub;

import io.forkd.image.RealRegistry;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;

/** A machine that has the snapshot {@code base}, one that has nothing, and a real registry between them. */
abstract class TwoHosts {
    @TempDir
    Path folder;

    RealRegistry registry;
    Host source;
    Host target;
    String ref;

    @BeforeEach
    void start() throws Exception {
        registry = new RealRegistry(Files.createDirectory(folder.resolve("registry-of-test")));
        source = new Host(folder.resolve("source"));
        target = new Host(folder.resolve("target"));
        ref = registry.host() + "/team/warm:1";
        source.boot();
    }

    @AfterEach
    void stop() throws Exception {
        registry.close();
    }
}
