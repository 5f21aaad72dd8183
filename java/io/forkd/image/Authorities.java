package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.Map;
import java.util.Optional;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

/** Whose certificates are trusted: those in the file that the usual variable names, in place of the system's. */
public final class Authorities {
    private final Path file;
    private Optional<SSLSocketFactory> trust = Optional.empty();

    private Authorities(Path file) {
        this.file = file;
    }

    /** Empty when the system's are to be trusted. */
    public static Optional<Authorities> named(Map<String, String> environment) {
        return Optional.ofNullable(environment.get("SSL_CERT_FILE"))
                .filter(file -> !file.isEmpty())
                .map(file -> new Authorities(Path.of(file)));
    }

    /** Read at the first use. */
    public synchronized SSLSocketFactory sockets() throws IOException {
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
