package io.forkd.rootfs;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.files.Trees;
import io.forkd.image.Platform;
import io.forkd.image.QuietWork;
import io.forkd.image.Work;
import io.forkd.rootfs.RootfsCache.Request;
import io.forkd.vmm.NativeFiles;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Packages of a repository that is in the image, installed by the image's own package manager. */
class ExtraPackagesTest {
    private static final Work QUIET = new QuietWork();

    @TempDir
    Path scratch;

    @ParameterizedTest
    @CsvSource({"apt,Unable to locate package no-such-package", "dnf,No match for argument: no-such-package"})
    void manager_installs_what_is_there_and_says_what_is_not(String manager, String complaint) throws Exception {
        Tool.run("tests/images/managers", scratch.resolve("images").toString());
        NativeFiles files = NativeFiles.installed();
        Path directory = scratch.resolve("cache");
        try (RootfsCache cache =
                new RootfsCache(directory, files.mkfs(), files.mktree(), files.guest(), Map.of(), QUIET)) {
            assertThatThrownBy(() -> cache.get(with(manager, "no-such-package")))
                    .isInstanceOfSatisfying(ForkdException.class, e -> {
                        assertThat(e.sentence()).isEqualTo("cannot install no-such-package");
                        assertThat(e.remedy()).contains(complaint);
                    });
            assertThat(Trees.list(directory.resolve("images"))).isEmpty();
            assertThat(Trees.list(directory))
                    .extracting(path -> path.getFileName().toString())
                    .noneMatch(name -> name.startsWith(".building-") || name.endsWith(".ext4"));

            Path ext4 = cache.get(with(manager, "hello-forkd")).file();
            Tool.requireCleanFileSystem(ext4);
            assertThat(Tool.run("debugfs", "-R", "cat /usr/share/hello-forkd/text", ext4.toString()))
                    .contains("installed by " + manager);
            assertThat(cache.get(with(manager, "hello-forkd")).cached()).isTrue();
        }
    }

    private Request with(String manager, String... packages) {
        return new Request(
                "docker-archive:" + scratch.resolve("images").resolve(manager + ".tar"),
                Platform.host(),
                false,
                new RootfsOptions(1024, List.of(packages)));
    }
}
