package io.forkd.image;

import java.io.IOException;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.util.Map;
import java.util.Optional;
import java.util.function.Predicate;

/** Goes where a registry sends us, if that is secure, and keeps from there what is for the registry alone. */
final class Redirects {
    private static final int MOST = 5;

    /** Asking again would lead there again. */
    static final class UnsafeAddressException extends IOException {
        private static final long serialVersionUID = 1;

        UnsafeAddressException(String why) {
            super(why);
        }
    }

    private final Connections connections;
    private final Predicate<URI> plainAllowed;

    /** @param plainAllowed to whom plain HTTP may be spoken */
    Redirects(Connections connections, Predicate<URI> plainAllowed) {
        this.connections = connections;
        this.plainAllowed = plainAllowed;
    }

    /** What is sent with a question. */
    interface Body {
        /** Bytes of it, where it is too large to be kept until all of it is there. */
        default long length() {
            return -1;
        }

        void writeTo(OutputStream out) throws IOException;
    }

    /** Asks, and goes on asking where it is sent; the authorization is for who was asked first. */
    Answer follow(
            String method, URI start, Map<String, String> headers, Optional<Body> body, Optional<String> authorization)
            throws IOException {
        URI uri = start;
        for (int i = 0; i <= MOST; i++) {
            HttpURLConnection connection = connections.open(uri);
            connection.setRequestMethod(method);
            headers.forEach(connection::setRequestProperty);
            if (sameOrigin(start, uri)) {
                authorization.ifPresent(value -> connection.setRequestProperty("Authorization", value));
            }
            if (body.isPresent()) {
                connection.setDoOutput(true);
                if (body.get().length() >= 0) {
                    connection.setFixedLengthStreamingMode(body.get().length());
                }
                try (OutputStream out = connection.getOutputStream()) {
                    body.get().writeTo(out);
                }
            }
            Answer answer = Answer.of(connection);
            Optional<String> location = answer.header("Location");
            if (answer.status() < 301 || answer.status() > 308 || location.isEmpty()) {
                return answer;
            }
            connection.disconnect();
            uri = safe(location.get(), uri, "it redirects to ");
        }
        throw new UnsafeAddressException("it redirects too often");
    }

    /** An address that somebody sends us to. */
    URI safe(String address, URI from, String what) throws IOException {
        URI uri;
        try {
            uri = from.resolve(address);
        } catch (IllegalArgumentException e) {
            throw new UnsafeAddressException(what + "what is no address");
        }
        if (uri.getHost() == null) {
            throw new UnsafeAddressException(what + "what is no address");
        }
        if (!"https".equals(uri.getScheme()) && !("http".equals(uri.getScheme()) && plainAllowed.test(uri))) {
            throw new UnsafeAddressException(what + uri.getScheme() + "://, which is not secure");
        }
        return uri;
    }

    /** What is said to it in plain text stays on this machine. */
    static boolean isLoopback(URI address) {
        return address.getHost().matches("localhost|127(\\.[0-9]+){3}|\\[::1]");
    }

    static boolean sameOrigin(URI one, URI other) {
        return one.getScheme().equals(other.getScheme()) && one.getAuthority().equals(other.getAuthority());
    }
}
