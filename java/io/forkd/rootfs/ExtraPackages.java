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
 * Installs packages with the image's own package manager. It runs in a folder with the image's files, which is the root
 * of mount and PID namespaces of its own; for who is not root in a user namespace, too, whose users are those of
 * /etc/subuid. What it leaves is one layer, in place of all others.
 */
final class ExtraPackages implements AutoCloseable {
    private static final int SHOWN_LINES = 25;

    /**
     * Arguments: the folder, what to run in it, its arguments. Only mounts it, on what {@link RootfsBuilder#unpack} has
     * made directories: a link of the image leads nowhere yet. The folder then is the root of the namespace, with
     * nothing of the host's in it but the network and devices that say nothing; what runs there has the capabilities
     * that Docker gives, without making devices. Root needs none to write to /proc/sys and /proc/sysrq-trigger, which are
     * the host's, so that it may only read there; and the terminal is not theirs, who could type there (TIOCSTI).
     * Nothing of it is written to the host's table of mounts (-n).
     */
    private static final String OUTSIDE = """
            set -eu
            tree=$1 inside=$2
            shift 2
            mount -n --bind "$tree" "$tree"
            cd "$tree"
            mount -n -t tmpfs -o mode=755,nosuid,size=16m dev dev
            for node in null zero full random urandom tty; do
                : > "dev/$node"
                mount -n --bind "/dev/$node" "dev/$node"
            done
            mkdir -m 1777 dev/shm
            ln -s /proc/self/fd dev/fd
            ln -s fd/0 dev/stdin
            ln -s fd/1 dev/stdout
            ln -s fd/2 dev/stderr
            mount -n -t proc -o ro,nosuid,nodev,noexec proc proc
            exec 3< /etc/resolv.conf
            mount -n --move . /
            exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C \\
                DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} \\
                ${https_proxy:+https_proxy="$https_proxy"} \\
                setsid setpriv --inh-caps=-all --bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,\
            +setpcap,+net_bind_service,+net_raw,+sys_chroot,+audit_write,+setfcap \\
                chroot . /bin/sh -c "$inside" sh "$@"
            """;

    /** By the image's own programs. Arguments: packages. The host's list of name servers is descriptor 3. */
    private static final String INSIDE = """
            set -eu
            resolv=/etc/resolv.conf
            moved=
            if [ -e $resolv ] || [ -L $resolv ]; then
                mv $resolv $resolv.forkd
                moved=1
            fi
            cat <&3 > $resolv
            exec 3<&-
            if [ -x /usr/bin/apt-get ]; then
                apt-get -q -o APT::Sandbox::User=root update
                apt-get -q -y -o APT::Sandbox::User=root install --no-install-recommends "$@"
                apt-get clean
                rm -rf /var/lib/apt/lists/*
            elif [ -x /sbin/apk ]; then
                /sbin/apk add --no-cache "$@"
            elif [ -x /usr/bin/dnf ]; then
                dnf -y --setopt=install_weak_deps=False install "$@"
                dnf clean all
            elif [ -x /usr/bin/microdnf ]; then
                microdnf -y --setopt=install_weak_deps=0 install "$@"
                microdnf clean all
            else
                echo "the image has no apt-get, apk, dnf or microdnf" >&2
                exit 1
            fi
            rm -f $resolv
            [ -z "$moved" ] || mv $resolv.forkd $resolv
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
        List<String> arguments = new ArrayList<>(List.of("sh", "-c", OUTSIDE, "sh", tree.toString(), INSIDE));
        arguments.addAll(packages);
        run(
                inNamespace(
                        List.of("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
                        arguments.toArray(String[]::new)),
                "install " + String.join(" ", packages));

        // All that ran there is dead. Reads, and follows no links.
        Path archive = folder.resolve("layer.tar");
        run(
                inNamespace(
                        List.of(),
                        "tar",
                        "--format=posix",
                        "--numeric-owner",
                        "--xattrs",
                        "--xattrs-include=*",
                        "--sparse",
                        "--one-file-system",
                        "--sort=name",
                        "-C",
                        tree.toString(),
                        "-cf",
                        archive.toString(),
                        "."),
                "pack the image with its extra packages");
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
        public void await() {}

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
