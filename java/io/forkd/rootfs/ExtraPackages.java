package io.forkd.rootfs;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Trees;
import io.forkd.image.Digest;
import io.forkd.image.Layer;
import io.forkd.image.Work;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Installs packages with the image's own package manager. It runs in a folder with the image's files, in a mount
 * namespace of its own; for who is not root in a user namespace, too, whose users are those of /etc/subuid. What it
 * leaves is one layer, in place of all others.
 */
final class ExtraPackages implements AutoCloseable {
    private static final int SHOWN_LINES = 25;

    /** Arguments: the folder, the archive to write, packages. Nothing of the host is in it but devices and the network. */
    private static final String SCRIPT = """
            set -eu
            tree=$1 archive=$2
            shift 2
            mount --rbind /dev "$tree/dev"
            mount -t proc proc "$tree/proc" 2> /dev/null || mount --rbind /proc "$tree/proc"
            resolv=$tree/etc/resolv.conf
            moved=
            if [ -e "$resolv" ] || [ -L "$resolv" ]; then
                mv "$resolv" "$resolv.forkd"
                moved=1
            fi
            cat /etc/resolv.conf > "$resolv"
            inside() {
                env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C \\
                    DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} \\
                    ${https_proxy:+https_proxy="$https_proxy"} chroot "$tree" "$@"
            }
            has() { [ -x "$tree$1" ]; }
            if has /usr/bin/apt-get; then
                inside apt-get -q -o APT::Sandbox::User=root update
                inside apt-get -q -y -o APT::Sandbox::User=root install --no-install-recommends "$@"
                inside apt-get clean
                rm -rf "$tree/var/lib/apt/lists"/*
            elif has /sbin/apk; then
                inside /sbin/apk add --no-cache "$@"
            elif has /usr/bin/dnf; then
                inside dnf -y --setopt=install_weak_deps=False install "$@"
                inside dnf clean all
            elif has /usr/bin/microdnf; then
                inside microdnf -y --setopt=install_weak_deps=0 install "$@"
                inside microdnf clean all
            else
                echo "the image has no apt-get, apk, dnf or microdnf" >&2
                exit 1
            fi
            rm -f "$resolv"
            [ -z "$moved" ] || mv "$resolv.forkd" "$resolv"
            umount -l "$tree/dev" "$tree/proc"
            exec tar --format=posix --numeric-owner --xattrs --xattrs-include='*' --sparse --one-file-system --sort=name \\
                -C "$tree" -cf "$archive" .
            """;

    private final Path folder;
    private final Path tree;
    private final Path mktree;
    private final Work work;
    private final boolean root;

    ExtraPackages(Path staging, Path mktree, Work work) throws IOException {
        this.folder = Files.createDirectory(staging.resolve("extra"));
        this.tree = folder.resolve("tree");
        this.mktree = mktree;
        this.work = work;
        this.root = Trees.ourUid() == 0;
    }

    Layer install(List<Layer> layers, long bytes, List<String> packages) throws IOException {
        work.begin("Unpacking the image", 0);
        RootfsBuilder.unpack(layers, bytes, inNamespace(List.of(), mktree.toString(), tree.toString()), work);

        work.begin("Installing " + String.join(" ", packages), 0);
        Path archive = folder.resolve("layer.tar");
        List<String> arguments =
                new ArrayList<>(List.of("sh", "-c", SCRIPT, "sh", tree.toString(), archive.toString()));
        arguments.addAll(packages);
        List<String> command = inNamespace(
                List.of("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
                arguments.toArray(String[]::new));
        run(command, "install " + String.join(" ", packages));
        return new Installed(archive, digest(archive));
    }

    /** With neither new namespaces nor another user to be, the command alone. */
    private List<String> inNamespace(List<String> options, String... command) {
        List<String> all = new ArrayList<>();
        if (!root || !options.isEmpty()) {
            all.add("unshare");
            if (!root) {
                all.addAll(List.of("--user", "--map-root-user", "--map-auto"));
            }
            all.addAll(options);
            all.add("--");
        }
        all.addAll(List.of(command));
        return all;
    }

    private void run(List<String> command, String doing) throws IOException {
        Process process = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectInput(ProcessBuilder.Redirect.from(new java.io.File("/dev/null")))
                .start();
        Deque<String> last = new ArrayDeque<>();
        Thread reader = new Thread(() -> read(process, last), "package manager");
        reader.setDaemon(true);
        reader.start();
        try {
            while (!process.waitFor(100, TimeUnit.MILLISECONDS)) {
                work.check();
            }
            reader.join(1000);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        } finally {
            process.destroyForcibly();
        }
        if (process.exitValue() != 0) {
            synchronized (last) {
                throw new ForkdException(Kind.FAILED, "cannot " + doing, String.join("\n", last));
            }
        }
    }

    private static void read(Process process, Deque<String> last) {
        try (BufferedReader lines = process.inputReader(StandardCharsets.UTF_8)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                synchronized (last) {
                    last.add(line);
                    if (last.size() > SHOWN_LINES) {
                        last.remove();
                    }
                }
            }
        } catch (IOException e) {
            // It has ended.
        }
    }

    private static Digest digest(Path archive) throws IOException {
        MessageDigest hasher = new Digest("sha256", "0".repeat(64)).hasher();
        try (InputStream in = new DigestInputStream(Files.newInputStream(archive), hasher)) {
            in.transferTo(java.io.OutputStream.nullOutputStream());
        }
        return new Digest("sha256", HexFormat.of().formatHex(hasher.digest()));
    }

    private record Installed(Path archive, Digest content) implements Layer {
        @Override
        public String name() {
            return "the image with its extra packages";
        }

        @Override
        public void fetch() {}

        @Override
        public InputStream open() throws IOException {
            return Files.newInputStream(archive);
        }

        @Override
        public void discard() {}
    }

    /** Files of a user namespace's users can be removed in such a one only. */
    @Override
    public void close() throws IOException {
        if (!root) {
            Process process = new ProcessBuilder(inNamespace(List.of(), "rm", "-rf", folder.toString()))
                    .inheritIO()
                    .start();
            try {
                process.waitFor();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
        Trees.delete(folder);
    }
}
