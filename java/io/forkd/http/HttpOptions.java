package io.forkd.http;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where a server listens, and whom it serves.
 *
 * @param tcp the address to listen at; port 0 takes a free one
 * @param unixSocket the Unix socket to listen at; whoever may open it needs no token
 * @param tls for the TCP address
 * @param tokenFile says who may ask over TCP; without one everybody is served, at a loopback address only
 * @param auditLog gets a line for each request
 */
public record HttpOptions(
        Optional<InetSocketAddress> tcp,
        Optional<Path> unixSocket,
        Optional<Tls> tls,
        Optional<Path> tokenFile,
        Optional<Path> auditLog,
        Limits limits) {

    /** Files in PEM form: a chain of certificates, the server's own first, and its private key. */
    public record Tls(Path certificates, Path key) {}

    private static final String BYTE = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])";
    private static final Pattern ADDRESS =
            Pattern.compile("(\\[[0-9A-Fa-f:.]+\\]|(?:" + BYTE + "\\.){3}" + BYTE + "):([0-9]{1,5})");

    /** Reads an address as in {@code 127.0.0.1:8889} or {@code [::1]:8889}; names are not looked up. */
    public static InetSocketAddress address(String text) {
        Matcher parts = ADDRESS.matcher(text);
        if (parts.matches() && Integer.parseInt(parts.group(2)) <= 65535) {
            try {
                return new InetSocketAddress(InetAddress.getByName(parts.group(1)), Integer.parseInt(parts.group(2)));
            } catch (UnknownHostException e) {
                // What is in the brackets is no address.
            }
        }
        throw new ForkdException(
                Kind.USAGE, "cannot listen at " + text, "Give an IP address and a port, as in 127.0.0.1:8889.");
    }

    /** Both files or neither. */
    public static Optional<Tls> tls(Optional<Path> certificates, Optional<Path> key) {
        if (certificates.isPresent() != key.isPresent()) {
            throw new ForkdException(
                    Kind.USAGE,
                    "TLS needs a certificate and its key, and only the " + (key.isPresent() ? "key" : "certificate")
                            + " is given",
                    "Give both files, or neither.");
        }
        return certificates.map(file -> new Tls(file, key.orElseThrow()));
    }
}
