package io.forkd.http;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import java.io.IOException;
import java.net.ConnectException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.HexFormat;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import org.eclipse.jetty.server.ConnectionFactory;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.unixdomain.server.UnixDomainServerConnector;

/**
 * Listens at a Unix socket. It is bound under a name of its own, closed to others, and only then gets its real name: so
 * nobody finds it open to all, nor misses it while a dead daemon's is replaced; and Jetty, which removes what it has
 * bound, removes nobody else's.
 */
final class UnixListener extends UnixDomainServerConnector {
    private static final int S_IFMT = 0170000;
    private static final int S_IFSOCK = 0140000;

    private final Path path;
    private Optional<Object> bound = Optional.empty();

    UnixListener(Server server, Path path, ConnectionFactory... factories) {
        super(server, 1, 1, factories);
        this.path = path.toAbsolutePath();
        String name =
                "." + HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextInt());
        setUnixDomainPath(Objects.requireNonNull(this.path.getParent()).resolve(name));
        for (Path file : new Path[] {this.path, getUnixDomainPath()}) {
            if (file.toString().getBytes(StandardCharsets.UTF_8).length > MAX_UNIX_DOMAIN_PATH_LENGTH) {
                throw new ForkdException(
                        Kind.USAGE,
                        "the path " + path + " is too long for a Unix socket",
                        "It may have some 100 bytes.");
            }
        }
    }

    @Override
    protected void doStart() throws Exception {
        Files.createDirectories(Objects.requireNonNull(path.getParent()));
        try (FileLock lock = FileLock.exclusive(path.resolveSibling(path.getFileName() + ".lock"))) {
            checkFree();
            super.doStart();
            Path made = getUnixDomainPath();
            Files.setPosixFilePermissions(made, PosixFilePermissions.fromString("rw-------"));
            bound = Optional.of(identity(made));
            Files.move(made, path, StandardCopyOption.ATOMIC_MOVE);
        }
    }

    private void checkFree() throws IOException {
        if (!Files.exists(path, LinkOption.NOFOLLOW_LINKS)) {
            return;
        }
        int mode = (int) Files.getAttribute(path, "unix:mode", LinkOption.NOFOLLOW_LINKS);
        if ((mode & S_IFMT) != S_IFSOCK) {
            throw new ForkdException(
                    Kind.CONFLICT, path + " is no socket, and not replaced by one", "Remove it, or name another path.");
        }
        try (SocketChannel probe = SocketChannel.open(StandardProtocolFamily.UNIX)) {
            // Not to wait for one that listens and does not accept.
            probe.configureBlocking(false);
            probe.connect(UnixDomainSocketAddress.of(path));
        } catch (ConnectException e) {
            return;
        } catch (IOException e) {
            // Its queue is full, or it is another user's: somebody's it is.
        }
        throw new ForkdException(Kind.CONFLICT, "another daemon listens at " + path, "Stop it, or name another path.");
    }

    /** Takes no more connections; those that there are go on. */
    void close() throws IOException {
        if (bound.isEmpty()) {
            return;
        }
        try (FileLock lock = FileLock.exclusive(path.resolveSibling(path.getFileName() + ".lock"))) {
            if (Files.exists(path, LinkOption.NOFOLLOW_LINKS) && identity(path).equals(bound.get())) {
                Files.delete(path);
            }
        }
    }

    private static Object identity(Path file) throws IOException {
        return Files.readAttributes(file, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS)
                .fileKey();
    }
}
