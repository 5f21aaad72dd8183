package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.image.ImageReference.InRegistry;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.util.Optional;

/** What it means that a registry refuses or is not reached, and what to do about it. */
final class RegistryErrors {
    private static final String PROXY_REMEDY =
            "Give it a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT";

    private final InRegistry image;

    RegistryErrors(InRegistry image) {
        this.image = image;
    }

    /** @param login what was shown to the registry, if it wanted to see any */
    ForkdException refused(String doing, Answer answer, Optional<Credentials.Login> login) {
        String said = answer.error();
        String why = " (HTTP " + answer.status() + (said.isEmpty() ? "" : ", " + said) + ")";
        return switch (answer.status()) {
            case HttpURLConnection.HTTP_UNAUTHORIZED, HttpURLConnection.HTTP_FORBIDDEN ->
                new ForkdException(
                        Kind.FAILED,
                        "cannot " + doing + ": the registry refuses "
                                + login.map(known -> "the credentials of " + known.user())
                                        .orElse("access without credentials")
                                + why,
                        "Check the name; log in with: docker login " + image.registry());
            case HttpURLConnection.HTTP_NOT_FOUND ->
                new ForkdException(
                        Kind.NOT_FOUND,
                        "cannot " + doing + ": the registry does not have it" + why,
                        "Check the name and the tag.");
            case HttpURLConnection.HTTP_BAD_METHOD ->
                new ForkdException(
                        Kind.FAILED,
                        "cannot " + doing + ": the registry takes nothing" + why,
                        "It may be a mirror, or read-only: name the registry that is written to.");
            case HttpURLConnection.HTTP_ENTITY_TOO_LARGE ->
                new ForkdException(
                        Kind.FAILED,
                        "cannot " + doing + ": it is larger than the registry, or a proxy before it, takes" + why,
                        "Have its limit raised (client_max_body_size, with nginx) to 32 MiB.");
            case HttpURLConnection.HTTP_PROXY_AUTH ->
                new ForkdException(Kind.FAILED, "cannot " + doing + ": the proxy refuses access" + why, PROXY_REMEDY);
            case Answer.TOO_MANY_REQUESTS ->
                new ForkdException(
                        Kind.FAILED,
                        "cannot " + doing + ": the registry allows no more requests now" + why,
                        "Wait"
                                + answer.retryAfterMillis()
                                        .map(millis -> " " + (millis + 999) / 1000 + " seconds")
                                        .orElse("")
                                + ", or log in with: docker login " + image.registry());
            default -> new ForkdException(Kind.FAILED, "cannot " + doing + ": the registry failed" + why);
        };
    }

    /** Somebody refuses whom the registry redirected us to. */
    static ForkdException refusedElsewhere(String doing, Answer answer) {
        return new ForkdException(
                Kind.FAILED,
                "cannot " + doing + ": " + answer.from().getAuthority()
                        + ", where the registry sends us, refuses it (HTTP " + answer.status() + ")");
    }

    ForkdException unreachable(String doing, IOException e) {
        return unreachable(doing, image.registry(), e);
    }

    /** Somebody is not reached. */
    static ForkdException unreachable(String doing, String who, IOException e) {
        ConnectionFault fault = ConnectionFault.of(e);
        String given = ForkdException.reason(e);
        String reason = switch (fault) {
            case UNKNOWN_HOST -> "no host has the name " + given;
            case TIMEOUT -> "no answer in time";
            case CLOSED -> who + " does not answer: " + given;
            case UNSAFE_ADDRESS, NO_TLS, UNTRUSTED, PROXY_REFUSAL, BROKEN -> given;
        };
        Remedy remedy = switch (fault) {
            case PROXY_REFUSAL -> new Remedy.Advice(PROXY_REMEDY);
            case NO_TLS -> Remedy.Action.PLAIN_HTTP;
            case UNTRUSTED ->
                new Remedy.Advice("SSL_CERT_FILE=FILE names the file with the certificate of its authority.");
            case UNSAFE_ADDRESS, UNKNOWN_HOST, CLOSED, TIMEOUT, BROKEN -> Remedy.NONE;
        };
        return new ForkdException(Kind.FAILED, "cannot " + doing + ": " + reason, remedy);
    }
}
