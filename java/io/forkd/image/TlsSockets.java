package io.forkd.image;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLSocketFactory;

/**
 * TLS over sockets that are connected, which are looked at before, and can be closed at any time: closing an {@link
 * HttpsURLConnection} itself waits for who reads from it.
 */
final class TlsSockets extends SSLSocketFactory {
    /** Says whether a connection may be used. */
    @FunctionalInterface
    interface Check {
        void require(String host, int port, InetAddress address) throws IOException;
    }

    private final SSLSocketFactory tls;
    private final Check check;
    private final Set<Socket> open = ConcurrentHashMap.newKeySet();
    private volatile boolean closed;

    TlsSockets(SSLSocketFactory tls, Check check) {
        this.tls = tls;
        this.check = check;
    }

    /** From now on there are none. */
    void close() {
        closed = true;
        open.forEach(TlsSockets::close);
    }

    private static void close(Socket socket) {
        try {
            socket.close();
        } catch (IOException e) {
            // Nobody reads from it any more.
        }
    }

    @Override
    public Socket createSocket(Socket connected, String host, int port, boolean autoClose) throws IOException {
        check.require(host, port, connected.getInetAddress());
        open.removeIf(Socket::isClosed);
        open.add(connected);
        if (closed) {
            close(connected);
        }
        return tls.createSocket(connected, host, port, autoClose);
    }

    // An HttpsURLConnection connects by itself, and falls back to this when the above fails.

    @Override
    public Socket createSocket(String host, int port) throws IOException {
        throw new IOException("a socket is connected before TLS begins on it");
    }

    @Override
    public Socket createSocket(String host, int port, InetAddress localHost, int localPort) throws IOException {
        return createSocket(host, port);
    }

    @Override
    public Socket createSocket(InetAddress host, int port) throws IOException {
        return createSocket(host.getHostAddress(), port);
    }

    @Override
    public Socket createSocket(InetAddress host, int port, InetAddress localHost, int localPort) throws IOException {
        return createSocket(host.getHostAddress(), port);
    }

    @Override
    public String[] getDefaultCipherSuites() {
        return tls.getDefaultCipherSuites();
    }

    @Override
    public String[] getSupportedCipherSuites() {
        return tls.getSupportedCipherSuites();
    }
}
