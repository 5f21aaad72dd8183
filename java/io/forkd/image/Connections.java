package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.Map;
import java.util.Optional;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

/**
 * HTTP to one address, with limits: through the proxy and by the certificates that the environment names.
 *
 * <p>On {@link HttpURLConnection}, which is ready within 50 ms of the JVM's start: a client library, or
 * {@code java.net.http}, takes longer to load than a whole hit of the cache may last.
 */
final class Connections {
    private static final int CONNECT_MILLIS = 15_000;
    private static final int READ_MILLIS = 60_000;

    private final Proxies proxies;
    private final Optional<Path> authorities;
    private Optional<SSLSocketFactory> trust = Optional.empty();

    Connections(Proxies proxies, Map<String, String> environment) {
        this.proxies = proxies;
        this.authorities = Optional.ofNullable(environment.get("SSL_CERT_FILE"))
                .filter(file -> !file.isEmpty())
                .map(Path::of);
    }

    HttpURLConnection open(URI uri) throws IOException {
        HttpURLConnection connection = proxies.open(uri);
        connection.setInstanceFollowRedirects(false);
        connection.setConnectTimeout(CONNECT_MILLIS);
        connection.setReadTimeout(READ_MILLIS);
        connection.setRequestProperty("User-Agent", "forkd");
        if (connection instanceof HttpsURLConnection secure && authorities.isPresent()) {
            secure.setSSLSocketFactory(trust(authorities.get()));
        }
        return connection;
    }

    /** Certificates are checked against those of a file, where the usual variable names one. */
    private synchronized SSLSocketFactory trust(Path file) throws IOException {
        if (trust.isEmpty()) {
            try (InputStream in = Files.newInputStream(file)) {
                KeyStore known = KeyStore.getInstance(KeyStore.getDefaultType());
                known.load(null, null);
                int count = 0;
                for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                    known.setCertificateEntry(Integer.toString(count++), one);
                }
                TrustManagerFactory managers =
                        TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
                managers.init(known);
                SSLContext context = SSLContext.getInstance("TLS");
                context.init(null, managers.getTrustManagers(), null);
                trust = Optional.of(context.getSocketFactory());
            } catch (GeneralSecurityException e) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        "the certificates in " + file + " (SSL_CERT_FILE) cannot be read: " + e.getMessage());
            } catch (NoSuchFileException e) {
                throw new ForkdException(Kind.NOT_FOUND, "SSL_CERT_FILE names " + file + ", which is not there");
            }
        }
        return trust.get();
    }
}
