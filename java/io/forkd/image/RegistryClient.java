package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.ImageReference.InRegistry;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.ConnectException;
import java.net.HttpURLConnection;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;
import tools.jackson.databind.JsonNode;

/**
 * What pulling needs of the OCI distribution protocol, for one repository: manifests, blobs from any byte on, tokens.
 *
 * <p>On {@link HttpURLConnection}, which is ready within 50 ms of the JVM's start: a client library, or
 * {@code java.net.http}, takes longer to load than a whole hit of the cache may last.
 */
final class RegistryClient {
    private static final int CONNECT_MILLIS = 15_000;
    private static final int READ_MILLIS = 60_000;
    private static final int MAX_REDIRECTS = 5;
    private static final int MAX_ERROR_BYTES = 64 << 10;
    private static final int ATTEMPTS = 4;
    private static final long FIRST_PAUSE_MILLIS = 200;

    /** To a registry that has had enough of us and does not say for how long. */
    private static final long FIRST_PAUSE_AT_LIMIT_MILLIS = 1000;

    /** Who is told to wait longer than that is better told so. */
    private static final long MAX_PAUSE_MILLIS = 60_000;

    private static final String PROXY_REMEDY =
            "Give it a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT";

    private static final int TOO_MANY_REQUESTS = 429;
    private static final int CHECK_MILLIS = 100;
    private static final Map<String, String> ACCEPT = Map.of("Accept", String.join(", ", Documents.ACCEPTED));
    private static final Pattern PARAMETER = Pattern.compile("([a-zA-Z_]+)=\"([^\"]*)\"");

    /** The registry did not answer, or not as it would when it is well. */
    static final class NoAnswerException extends ForkdException {
        private static final long serialVersionUID = 1;

        NoAnswerException(ForkdException why) {
            super(why.kind(), why.sentence(), why.remedy());
        }
    }

    /** An answer that we do not go after, and that asking again would not change. */
    private static final class RefusedException extends IOException {
        private static final long serialVersionUID = 1;

        RefusedException(String why) {
            super(why);
        }
    }

    /** The token server cannot answer now. */
    private static final class BusyException extends IOException {
        private static final long serialVersionUID = 1;
        private final transient HttpURLConnection answer;

        BusyException(HttpURLConnection answer) {
            super("it is busy");
            this.answer = answer;
        }
    }

    private final InRegistry image;
    private final Map<String, String> environment;
    private final Work work;
    private final Proxies proxies;
    private final List<String> schemes;
    private volatile int scheme;
    private volatile boolean schemeKnown;
    private Optional<SSLSocketFactory> trust = Optional.empty();
    private Optional<Credentials.Login> login = Optional.empty();
    private boolean loginKnown;
    private volatile Optional<String> authorization = Optional.empty();

    /** @param insecure whether plain HTTP is spoken to a registry that is not on this machine, too */
    RegistryClient(InRegistry image, boolean insecure, Map<String, String> environment, Work work) {
        this.image = image;
        this.environment = environment;
        this.work = work;
        this.proxies = new Proxies(image.isLoopback() ? Map.of() : environment);
        // What is most likely comes first: the other is tried when the answer, or the lack of one, tells us to.
        if (image.isLoopback()) {
            this.schemes = List.of("http", "https");
        } else {
            this.schemes = insecure ? List.of("https", "http") : List.of("https");
        }
    }

    /** Whether plain HTTP may be spoken, if not to whom. */
    private boolean plainAllowed() {
        return schemes.contains("http");
    }

    /** What a tag leads to now, if the registry says that without sending it. */
    Optional<Digest> manifestDigest(String tag) {
        HttpURLConnection answer;
        try {
            answer = get("HEAD", "manifests/" + tag, ACCEPT, "look up " + image);
        } catch (NoAnswerException e) {
            throw e;
        } catch (ForkdException e) {
            return Optional.empty(); // the answer to GET says why
        }
        try {
            return Optional.ofNullable(answer.getHeaderField("Docker-Content-Digest"))
                    .map(Digest::parse);
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    /** A manifest or an index, by tag or digest. */
    byte[] manifest(String selector) {
        String doing = "read the manifest of " + image;
        HttpURLConnection answer = get("GET", "manifests/" + selector, ACCEPT, doing);
        try (InputStream in = answer.getInputStream()) {
            byte[] bytes = in.readNBytes(Documents.MAX_BYTES + 1);
            if (bytes.length > Documents.MAX_BYTES) {
                throw new ForkdException(Kind.FAILED, "the manifest of " + image + " is larger than 8 MiB");
            }
            return bytes;
        } catch (IOException e) {
            throw unreachable(doing, e);
        }
    }

    /** A blob's bytes from {@code offset} on; a registry that cannot begin there is skipped forward. */
    InputStream blob(Digest digest, long offset) throws IOException {
        String doing = "pull " + digest.brief() + " of " + image;
        HttpURLConnection answer =
                get("GET", "blobs/" + digest, offset > 0 ? Map.of("Range", "bytes=" + offset + "-") : Map.of(), doing);
        InputStream in = answer.getInputStream();
        if (offset > 0 && answer.getResponseCode() != HttpURLConnection.HTTP_PARTIAL) {
            in.skipNBytes(offset);
        }
        return in;
    }

    private URI uri(int which, String rest) {
        return URI.create(schemes.get(which) + "://" + image.registry() + "/v2/" + image.repository() + "/" + rest);
    }

    /** Asks until there is an answer that asking again would not change. */
    private HttpURLConnection get(String method, String path, Map<String, String> headers, String doing) {
        for (int attempt = 1; ; attempt++) {
            int tried = scheme;
            boolean plain = schemes.get(tried).equals("http");
            boolean wrongScheme;
            boolean passes;
            boolean answered = true;
            long pause = FIRST_PAUSE_MILLIS << (attempt - 1);
            ForkdException failure;
            try {
                HttpURLConnection answer = ask(method, uri(tried, path), headers);
                int status = answer.getResponseCode();
                // Servers that speak TLS answer so to what is none.
                wrongScheme = plain && status == HttpURLConnection.HTTP_BAD_REQUEST;
                if (status / 100 == 2) {
                    schemeKnown = true;
                    return answer;
                }
                passes = passes(status);
                answered = !passes;
                pause = passes ? pause(answer, attempt) : pause;
                failure = isOf(uri(tried, path), answer)
                        ? refused(doing, status, answer)
                        : new ForkdException(
                                Kind.FAILED,
                                "cannot " + doing + ": " + answer.getURL().getAuthority()
                                        + ", where the registry sends us, refuses it (HTTP " + status + ")");
            } catch (BusyException e) {
                wrongScheme = false;
                passes = true;
                answered = false;
                pause = pause(e.answer, attempt);
                failure = refused("log in for " + image, status(e.answer), e.answer);
            } catch (IOException e) {
                wrongScheme = !plain && speaksNoTls(e);
                boolean refused = e instanceof RefusedException || isProxysRefusal(e);
                passes = !refused && passes(e);
                answered = refused || e instanceof SSLException;
                failure = unreachable(doing, e);
            }
            if (wrongScheme && otherScheme(tried)) {
                continue;
            }
            if (!passes || attempt >= ATTEMPTS || pause > MAX_PAUSE_MILLIS) {
                throw answered ? failure : new NoAnswerException(failure);
            }
            pause(pause);
        }
    }

    /** Whether an answer is one that asking again may change. */
    private static boolean passes(int status) {
        return status == HttpURLConnection.HTTP_CLIENT_TIMEOUT
                || status == TOO_MANY_REQUESTS
                || (status / 100 == 5 && status != HttpURLConnection.HTTP_NOT_IMPLEMENTED);
    }

    private static long pause(HttpURLConnection answer, int attempt) {
        long first = status(answer) == TOO_MANY_REQUESTS ? FIRST_PAUSE_AT_LIMIT_MILLIS : FIRST_PAUSE_MILLIS;
        return retryAfter(answer).orElse(first << (attempt - 1));
    }

    /** Of an answer that is there. */
    private static int status(HttpURLConnection answer) {
        try {
            return answer.getResponseCode();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** When the registry wants to be asked again: in seconds, or at a time. In milliseconds from now. */
    private static Optional<Long> retryAfter(HttpURLConnection answer) {
        String text = Optional.ofNullable(answer.getHeaderField("Retry-After")).orElse("");
        if (text.matches("[0-9]{1,9}")) {
            return Optional.of(Long.parseLong(text) * 1000);
        }
        long at = answer.getHeaderFieldDate("Retry-After", 0);
        return at == 0 ? Optional.empty() : Optional.of(Math.max(0, at - System.currentTimeMillis()));
    }

    /** A challenge is answered if it is the registry's own: wherever else a redirect leads, its password is not for there. */
    private HttpURLConnection ask(String method, URI uri, Map<String, String> headers) throws IOException {
        HttpURLConnection answer = open(method, uri, headers, authorization);
        if (answer.getResponseCode() != HttpURLConnection.HTTP_UNAUTHORIZED || !isOf(uri, answer)) {
            return answer;
        }
        authorization = authorize(
                Optional.ofNullable(answer.getHeaderField("WWW-Authenticate")).orElse(""));
        return open(method, uri, headers, authorization);
    }

    private static boolean isOf(URI origin, HttpURLConnection answer) {
        return sameOrigin(origin, URI.create(answer.getURL().toString()));
    }

    /** Goes over to the scheme after the one that was tried, unless the registry is known to speak that. */
    private synchronized boolean otherScheme(int tried) {
        if (!schemeKnown && scheme == tried && tried + 1 < schemes.size()) {
            scheme = tried + 1;
        }
        return scheme != tried;
    }

    /** A certificate that is not trusted is no reason to go on without any. */
    private static boolean speaksNoTls(IOException e) {
        return e instanceof ConnectException
                || (e instanceof SSLException
                        && !(e instanceof SSLHandshakeException)
                        && !(e instanceof SSLPeerUnverifiedException));
    }

    /** Names that do not exist, closed ports and bad certificates stay so. */
    private static boolean passes(IOException e) {
        return !(e instanceof UnknownHostException || e instanceof ConnectException || e instanceof SSLException);
    }

    /** Java tells only so that a proxy wants another password before it lets TLS through. */
    private static boolean isProxysRefusal(IOException e) {
        String message = Optional.ofNullable(e.getMessage()).orElse("");
        return message.startsWith("Unable to tunnel through proxy") && message.contains(" 407");
    }

    private void pause(long millis) {
        if (millis > 2 * FIRST_PAUSE_AT_LIMIT_MILLIS) {
            work.say(image.registry() + " wants to be asked again in " + (millis + 999) / 1000 + " seconds");
        }
        try {
            for (long end = System.nanoTime() + millis * 1_000_000; System.nanoTime() < end; ) {
                work.check();
                Thread.sleep(Math.min(CHECK_MILLIS, Math.max(1, (end - System.nanoTime()) / 1_000_000)));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    /** Follows redirects; the authorization is for the registry alone, not for the store it sends us to. */
    private HttpURLConnection open(String method, URI start, Map<String, String> headers, Optional<String> authorized)
            throws IOException {
        URI uri = start;
        for (int i = 0; i <= MAX_REDIRECTS; i++) {
            HttpURLConnection connection = connect(uri);
            connection.setRequestMethod(method);
            headers.forEach(connection::setRequestProperty);
            if (sameOrigin(start, uri)) {
                authorized.ifPresent(value -> connection.setRequestProperty("Authorization", value));
            }
            int status = connection.getResponseCode();
            String location = connection.getHeaderField("Location");
            if (status < 301 || status > 308 || location == null) {
                return connection;
            }
            connection.disconnect();
            URI next = secure(location, uri, "it redirects to ");
            uri = next;
        }
        throw new RefusedException("it redirects too often");
    }

    /** An address that somebody sends us to. */
    private URI secure(String address, URI from, String what) throws IOException {
        URI uri;
        try {
            uri = from.resolve(address);
        } catch (IllegalArgumentException e) {
            throw new RefusedException(what + "what is no address");
        }
        if (uri.getHost() == null) {
            throw new RefusedException(what + "what is no address");
        }
        if (!"https".equals(uri.getScheme()) && !("http".equals(uri.getScheme()) && plainAllowed())) {
            throw new RefusedException(what + uri.getScheme() + "://, which is not secure");
        }
        return uri;
    }

    private HttpURLConnection connect(URI uri) throws IOException {
        HttpURLConnection connection = proxies.open(uri);
        connection.setInstanceFollowRedirects(false);
        connection.setConnectTimeout(CONNECT_MILLIS);
        connection.setReadTimeout(READ_MILLIS);
        connection.setRequestProperty("User-Agent", "forkd");
        String authorities = environment.getOrDefault("SSL_CERT_FILE", "");
        if (connection instanceof HttpsURLConnection secure && !authorities.isEmpty()) {
            secure.setSSLSocketFactory(trust(Path.of(authorities)));
        }
        return connection;
    }

    /** Certificates are checked against those of a file, where the usual variable names one. */
    private synchronized SSLSocketFactory trust(Path authorities) throws IOException {
        if (trust.isEmpty()) {
            try (InputStream in = Files.newInputStream(authorities)) {
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
                        "the certificates in " + authorities + " (SSL_CERT_FILE) cannot be read: " + e.getMessage());
            } catch (NoSuchFileException e) {
                throw new ForkdException(Kind.NOT_FOUND, "SSL_CERT_FILE names " + authorities + ", which is not there");
            }
        }
        return trust.get();
    }

    private static boolean sameOrigin(URI one, URI other) {
        return one.getScheme().equals(other.getScheme()) && one.getAuthority().equals(other.getAuthority());
    }

    /** Does what the registry's challenge asks for: a password, or a token from its token server. */
    private synchronized Optional<String> authorize(String challenge) throws IOException {
        if (!loginKnown) {
            login = new Credentials(environment).of(image);
            loginKnown = true;
        }
        String scheme = challenge.split(" ", 2)[0];
        if (scheme.equalsIgnoreCase("Basic")) {
            return login.map(Credentials.Login::basic);
        }
        if (!scheme.equalsIgnoreCase("Bearer")) {
            return Optional.empty();
        }
        Map<String, String> asked = PARAMETER
                .matcher(challenge)
                .results()
                .collect(Collectors.toMap(found -> found.group(1), found -> found.group(2), (first, second) -> first));
        URI realm = secure(asked.getOrDefault("realm", ""), uri(this.scheme, ""), "its token server is ");
        String query = "service=" + encode(asked.getOrDefault("service", "")) + "&scope="
                + encode(asked.getOrDefault("scope", "repository:" + image.repository() + ":pull"));
        JsonNode answer = Documents.parse(token(realm, query), "the answer of " + realm);
        String token = answer.path("token").asString(answer.path("access_token").asString(""));
        return token.isEmpty() ? Optional.empty() : Optional.of("Bearer " + token);
    }

    private byte[] token(URI realm, String query) throws IOException {
        boolean identity =
                login.map(known -> known.user().equals(Credentials.TOKEN_USER)).orElse(false);
        HttpURLConnection connection;
        if (identity) {
            connection = connect(realm);
            connection.setDoOutput(true);
            connection.setRequestProperty("Content-Type", "application/x-www-form-urlencoded");
            String body = "grant_type=refresh_token&client_id=forkd&" + query + "&refresh_token="
                    + encode(login.map(Credentials.Login::password).orElse(""));
            try (var out = connection.getOutputStream()) {
                out.write(body.getBytes(StandardCharsets.UTF_8));
            }
        } else {
            String joint = realm.getRawQuery() == null ? "?" : "&";
            connection = connect(URI.create(realm + joint + query));
            login.ifPresent(known -> connection.setRequestProperty("Authorization", known.basic()));
        }
        if (passes(connection.getResponseCode())) {
            throw new BusyException(connection);
        }
        if (connection.getResponseCode() / 100 != 2) {
            throw refused("log in for " + image, connection.getResponseCode(), connection);
        }
        try (InputStream in = connection.getInputStream()) {
            return in.readNBytes(Documents.MAX_BYTES);
        }
    }

    private static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    private ForkdException refused(String doing, int status, HttpURLConnection answer) {
        String said = said(answer);
        String why = " (HTTP " + status + (said.isEmpty() ? "" : ", " + said) + ")";
        return switch (status) {
            case 401, 403 ->
                new ForkdException(
                        Kind.FAILED,
                        "cannot " + doing + ": the registry refuses "
                                + login.map(known -> "the credentials of " + known.user())
                                        .orElse("access without credentials")
                                + why,
                        "Check the name; log in with: docker login " + image.registry());
            case 404 ->
                new ForkdException(
                        Kind.NOT_FOUND,
                        "cannot " + doing + ": the registry does not have it" + why,
                        "Check the name and the tag.");
            case HttpURLConnection.HTTP_PROXY_AUTH ->
                new ForkdException(Kind.FAILED, "cannot " + doing + ": the proxy refuses access" + why, PROXY_REMEDY);
            case TOO_MANY_REQUESTS ->
                new ForkdException(
                        Kind.FAILED,
                        "cannot " + doing + ": the registry allows no more pulls now" + why,
                        "Wait"
                                + retryAfter(answer)
                                        .map(millis -> " " + (millis + 999) / 1000 + " seconds")
                                        .orElse("") + ", or log in with: docker login " + image.registry());
            default -> new ForkdException(Kind.FAILED, "cannot " + doing + ": the registry failed" + why);
        };
    }

    /** What the registry says about it, in the protocol's form of an error. */
    private static String said(HttpURLConnection answer) {
        try (InputStream in = answer.getErrorStream()) {
            if (in == null) {
                return "";
            }
            JsonNode error = Documents.parse(in.readNBytes(MAX_ERROR_BYTES), "the answer")
                    .path("errors")
                    .path(0);
            String text = error.path("message").asString(error.path("code").asString(""));
            Matcher unprintable = Pattern.compile("\\p{Cntrl}").matcher(text);
            return unprintable.replaceAll(" ");
        } catch (IOException | ForkdException e) {
            return "";
        }
    }

    private ForkdException unreachable(String doing, IOException e) {
        String reason = ForkdException.reason(e);
        if (e instanceof UnknownHostException) {
            reason = "no host has the name " + reason;
        } else if (e instanceof SocketTimeoutException) {
            reason = "no answer in time";
        } else if (e instanceof ConnectException) {
            reason = image.registry() + " does not answer: " + reason;
        }
        String remedy = "";
        if (isProxysRefusal(e)) {
            remedy = PROXY_REMEDY;
        } else if (e instanceof SSLException) {
            remedy = speaksNoTls(e)
                    ? "A registry that speaks plain HTTP needs --insecure-registry."
                    : "Name the file with the certificate of its authority: SSL_CERT_FILE=FILE";
        }
        return new ForkdException(Kind.FAILED, "cannot " + doing + ": " + reason, remedy);
    }
}
