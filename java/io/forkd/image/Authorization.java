package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.image.Credentials.Login;
import io.forkd.image.ImageReference.InRegistry;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import tools.jackson.databind.JsonNode;

/** What a registry is shown so that it lets us in: what its challenge asks for, a password or a token. */
final class Authorization {
    private static final Pattern PARAMETER = Pattern.compile("([a-zA-Z_]+)=\"([^\"]*)\"");

    /** The token server cannot answer now. */
    static final class BusyException extends IOException {
        private static final long serialVersionUID = 1;
        private final transient Answer answer;

        BusyException(Answer answer) {
            super("it is busy");
            this.answer = answer;
        }

        Answer answer() {
            return answer;
        }
    }

    private final InRegistry image;
    private final Credentials credentials;
    private final Connections connections;
    private final Redirects redirects;
    private final RegistryErrors errors;
    private volatile Optional<Login> login = Optional.empty();
    private boolean loginKnown;
    private volatile Optional<String> header = Optional.empty();

    Authorization(
            InRegistry image,
            Credentials credentials,
            Connections connections,
            Redirects redirects,
            RegistryErrors errors) {
        this.image = image;
        this.credentials = credentials;
        this.connections = connections;
        this.redirects = redirects;
        this.errors = errors;
    }

    /** What the last challenge led to; empty before the first. */
    Optional<String> header() {
        return header;
    }

    /** Who we are there; empty before the first challenge, too. */
    Optional<Login> login() {
        return login;
    }

    /** For an answer that did not let us in. */
    ForkdException refused(Answer answer) {
        return errors.refused("log in for " + image, answer, login);
    }

    /**
     * Does what a challenge asks for, and says what that led to: another one may ask for less at the same time.
     *
     * @param registry whom it came from
     */
    synchronized Optional<String> answer(String challenge, URI registry) throws IOException {
        if (!loginKnown) {
            login = credentials.of(image);
            loginKnown = true;
        }
        String scheme = challenge.split(" ", 2)[0];
        if (scheme.equalsIgnoreCase("Basic")) {
            header = login.map(Login::basic);
        } else {
            header = scheme.equalsIgnoreCase("Bearer") ? bearer(challenge, registry) : Optional.empty();
        }
        return header;
    }

    private Optional<String> bearer(String challenge, URI registry) throws IOException {
        Map<String, String> asked = PARAMETER
                .matcher(challenge)
                .results()
                .collect(Collectors.toMap(found -> found.group(1), found -> found.group(2), (first, second) -> first));
        URI realm = redirects.safe(asked.getOrDefault("realm", ""), registry, "its token server is ");
        String query = "service=" + encode(asked.getOrDefault("service", "")) + "&scope="
                + encode(asked.getOrDefault("scope", "repository:" + image.repository() + ":pull"));
        JsonNode document = Documents.parse(ask(realm, query), "the answer of " + realm);
        String token =
                document.path("token").asString(document.path("access_token").asString(""));
        return token.isEmpty() ? Optional.empty() : Optional.of("Bearer " + token);
    }

    private byte[] ask(URI realm, String query) throws IOException {
        boolean identity =
                login.map(known -> known.user().equals(Credentials.TOKEN_USER)).orElse(false);
        HttpURLConnection connection;
        if (identity) {
            connection = connections.open(realm);
            connection.setDoOutput(true);
            connection.setRequestProperty("Content-Type", "application/x-www-form-urlencoded");
            String body = "grant_type=refresh_token&client_id=forkd&" + query + "&refresh_token="
                    + encode(login.map(Login::password).orElse(""));
            try (var out = connection.getOutputStream()) {
                out.write(body.getBytes(StandardCharsets.UTF_8));
            }
        } else {
            String joint = realm.getRawQuery() == null ? "?" : "&";
            connection = connections.open(URI.create(realm + joint + query));
            login.ifPresent(known -> connection.setRequestProperty("Authorization", known.basic()));
        }
        Answer answer = Answer.of(connection);
        if (answer.mayPass()) {
            throw new BusyException(answer);
        }
        if (!answer.isGood()) {
            throw refused(answer);
        }
        try (InputStream in = answer.content()) {
            return in.readNBytes(Documents.MAX_BYTES);
        }
    }

    private static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }
}
