package io.forkd.rootfs;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.files.Trees;
import io.forkd.image.OciImage;
import io.forkd.image.Platform;
import io.forkd.image.QuietWork;
import io.forkd.image.Reach;
import io.forkd.image.Work;
import io.forkd.rootfs.RootfsCache.Request;
import io.forkd.vmm.NativeFiles;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Packages of a repository that is in the image, installed by the image's own package manager. */
class ExtraPackagesTest {
    private static final Reach ANYWHERE = new Reach(false, Optional.empty());

    private static final Work QUIET = new QuietWork();

    @TempDir
    Path scratch;

    @AfterEach
    void requireCleanFileSystems() throws Exception {
        Tool.requireCleanFileSystems(scratch);
    }

    @ParameterizedTest
    @CsvSource({"apt,Unable to locate package no-such-package", "dnf,No match for argument: no-such-package"})
    void manager_installs_what_is_there_and_says_what_is_not(String manager, String complaint) throws Exception {
        Tool.run("tests/images/managers", scratch.resolve("images").toString());
        NativeFiles files = NativeFiles.installed();
        Path directory = scratch.resolve("cache");
        try (RootfsCache cache = new RootfsCache(
                directory, files.mkfs(), files.mktree(), files.guest(), Map.of(), QUIET, Optional.empty())) {
            assertThatThrownBy(() -> cache.get(with(manager, "no-such-package")))
                    .isInstanceOfSatisfying(ForkdException.class, e -> {
                        assertThat(e.sentence()).isEqualTo("cannot install no-such-package");
                        assertThat(e.remedy()).asString().contains(complaint);
                    });
            assertThat(Trees.list(directory.resolve("images"))).isEmpty();
            assertThat(Trees.list(directory))
                    .extracting(path -> path.getFileName().toString())
                    .noneMatch(name -> name.startsWith(".building-") || name.endsWith(".ext4"));

            Path ext4 = cache.get(with(manager, "hello-forkd")).file();
            assertThat(Tool.run("debugfs", "-R", "cat /usr/share/hello-forkd/text", ext4.toString()))
                    .contains("installed by " + manager);
            assertThat(cache.get(with(manager, "hello-forkd")).cached()).isTrue();
        }
    }

    /** What is in the image must not reach what is beside it, wherever its links lead. */
    @Test
    void package_manager_sees_and_changes_nothing_of_the_host() throws Exception {
        Path host = Files.createDirectory(scratch.resolve("host"));
        Files.writeString(host.resolve("precious"), "precious");
        OciImage.Members members = new OciImage.Members()
                .file("bin/busybox", 0755, 0, 0, Files.readAllBytes(Path.of("/bin/busybox")))
                .symlink("dev", host.toString())
                .symlink("proc", host.toString())
                .symlink("etc/resolv.conf", host + "/precious")
                .symlink("var/lib/apt/lists", host.toString())
                .file("usr/bin/apt-get", 0755, 0, 0, """
                        #!/bin/sh
                        [ "$2" = -y ] || exit 0
                        { ls /dev; ls -d /proc/[0-9]*; ls /proc/1/root; } > /seen
                        rm -rf /var/lib/apt/lists/* "$SCRATCH"
                        for device in 'c 1 1' 'b 8 0' 'b 254 0'; do
                            mknod /device $device && echo "made $device" >> /seen
                        done
                        mount -t tmpfs none /mnt && echo mounted >> /seen
                        umount / && echo unmounted >> /seen
                        cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern && echo "made sysctl" >> /seen
                        [ "$(cut -d ' ' -f 6 /proc/self/stat)" = 0 ] && echo "made no session" >> /seen
                        mkdir /out
                        chroot /out /bin/sh -c : 2> /dev/null
                        cd / && ls ../../.. >> /seen
                        """.replace("$SCRATCH", scratch.toString())
                        .getBytes(StandardCharsets.UTF_8));
        for (String name :
                List.of("sh", "ls", "rm", "mv", "cat", "mkdir", "mknod", "mount", "umount", "chroot", "cut")) {
            members.symlink("bin/" + name, "busybox");
        }
        String reference = new OciImage(Files.createDirectory(scratch.resolve("image")))
                .layer(OciImage.Packing.PLAIN, members)
                .write();
        NativeFiles files = NativeFiles.installed();
        try (RootfsCache cache = new RootfsCache(
                scratch.resolve("cache"),
                files.mkfs(),
                files.mktree(),
                files.guest(),
                Map.of(),
                QUIET,
                Optional.empty())) {
            Path ext4 = cache.get(new Request(
                            reference, Platform.host(), ANYWHERE, new RootfsOptions(64, List.of("anything"))))
                    .file();
            assertThat(host).isDirectoryContaining("glob:**/precious");
            assertThat(host.resolve("precious")).hasContent("precious");
            assertThat(Trees.list(host)).hasSize(1);
            List<String> seen = Tool.run("debugfs", "-R", "cat /seen", ext4.toString())
                    .lines()
                    .filter(line -> !line.startsWith("debugfs "))
                    .toList();
            assertThat(seen)
                    .startsWith("fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom")
                    .noneMatch(line -> line.startsWith("made ") || line.endsWith("mounted"))
                    .doesNotContain("home", "root", "boot");
            assertThat(seen.stream().filter(line -> line.startsWith("/proc/"))).hasSizeLessThan(5);
        }
    }

    private Request with(String manager, String... packages) {
        return new Request(
                "docker-archive:" + scratch.resolve("images").resolve(manager + ".tar"),
                Platform.host(),
                ANYWHERE,
                new RootfsOptions(1024, List.of(packages)));
    }
}
