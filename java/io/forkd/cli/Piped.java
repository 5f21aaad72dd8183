package io.forkd.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import javax.net.ssl.SSLSocket;

/** TLS behind a channel that can be waited for, which is what Java's own cannot. */
final class Piped {
    private static final int CHUNK = 64 << 10;

    private Piped() {}

    /** The bytes of {@code secured}, which goes with what is returned. */
    static SocketChannel over(SSLSocket secured) throws IOException {
        SocketChannel ours;
        SocketChannel theirs;
        Path folder = Files.createTempDirectory("forkd-");
        UnixDomainSocketAddress name = UnixDomainSocketAddress.of(folder.resolve("pipe"));
        try (ServerSocketChannel listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            listener.bind(name);
            ours = SocketChannel.open(name);
            theirs = listener.accept();
        } finally {
            Files.deleteIfExists(name.getPath());
            Files.delete(folder);
        }
        InputStream from = secured.getInputStream();
        OutputStream to = secured.getOutputStream();
        carry(secured, theirs, () -> {
            byte[] bytes = new byte[CHUNK];
            for (int count = from.read(bytes); count >= 0; count = from.read(bytes)) {
                ByteBuffer taken = ByteBuffer.wrap(bytes, 0, count);
                while (taken.hasRemaining()) {
                    theirs.write(taken);
                }
            }
        });
        // Not by the streams of java.nio.channels.Channels: until Java 19 one that reads keeps the other from writing.
        carry(secured, theirs, () -> {
            byte[] bytes = new byte[CHUNK];
            ByteBuffer taken = ByteBuffer.wrap(bytes);
            for (int count = theirs.read(taken); count >= 0; count = theirs.read(taken.clear())) {
                to.write(bytes, 0, count);
            }
        });
        return ours;
    }

    private interface Way {
        void carry() throws IOException;
    }

    /** In a thread of its own. The end of either is that of both. */
    private static void carry(SSLSocket secured, SocketChannel theirs, Way way) {
        Thread thread = new Thread(
                () -> {
                    try (secured;
                            theirs) {
                        way.carry();
                    } catch (IOException e) {
                        // It is gone.
                    }
                },
                "pipe");
        thread.setDaemon(true);
        thread.start();
    }
}
