package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.image.ImageReference.InRegistry;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.util.Map;
import java.util.Optional;

/** Asks a registry until there is an answer that asking again would not change, as who and how it wants to be asked. */
final class RegistrySession {
    /**
     * What the registry is asked.
     *
     * @param path within the repository, or an address that the registry has named
     * @param body what is sent
     * @param doing what for, as in "cannot pull this"
     */
    record Request(
            String method, String path, Map<String, String> headers, Optional<Redirects.Body> body, String doing) {
        Request(String method, String path, Map<String, String> headers, String doing) {
            this(method, path, headers, Optional.empty(), doing);
        }
    }

    /** What came of asking once. */
    private sealed interface Outcome {}

    private record Answered(Answer answer) implements Outcome {}

    /**
     * @param wrongScheme whether it looks as if the registry did not speak that scheme
     * @param pause in milliseconds; empty where asking again would not change it
     */
    private record Failed(ForkdException why, boolean wrongScheme, Optional<Long> pause) implements Outcome {}

    private final RegistryErrors errors;
    private final Retries retries;
    private final Endpoint endpoint;
    private final Connections connections;
    private final Redirects redirects;
    private final Authorization authorization;

    RegistrySession(InRegistry image, Reach reach, Map<String, String> environment, Work work) {
        this.errors = new RegistryErrors(image);
        this.retries = new Retries(image.registry(), work);
        this.endpoint = new Endpoint(image, reach.plain());
        this.connections =
                new Connections(new Proxies(image.isLoopback() ? Map.of() : environment), reach, environment, work);
        this.redirects =
                new Redirects(connections, to -> endpoint.mayBePlain() && (reach.plain() || Redirects.isLoopback(to)));
        this.authorization = new Authorization(image, new Credentials(environment), connections, redirects, errors);
    }

    void close() {
        connections.close();
    }

    Answer answer(Request request) {
        for (int attempt = 1; ; attempt++) {
            URI base = endpoint.base();
            Outcome outcome = attempt(request, base, attempt);
            if (outcome instanceof Answered good) {
                endpoint.confirm();
                return good.answer();
            }
            Failed failed = (Failed) outcome;
            boolean other = failed.wrongScheme() && endpoint.leave(base);
            if (!other && !retries.await(attempt, failed.pause())) {
                throw failed.why();
            }
        }
    }

    private Outcome attempt(Request request, URI base, int attempt) {
        boolean plain = "http".equals(base.getScheme());
        try {
            URI uri = redirects.safe(request.path(), base, "it leads to ");
            Answer answer = ask(request, uri, base);
            if (answer.isGood()) {
                return new Answered(answer);
            }
            ForkdException why = Redirects.sameOrigin(uri, answer.from())
                    ? errors.refused(request.doing(), answer, authorization.login())
                    : RegistryErrors.refusedElsewhere(request.doing(), answer);
            return new Failed(
                    answer.mayPass() ? new NoAnswerException(why) : why,
                    // Servers that speak TLS answer so to what is none.
                    plain && answer.status() == HttpURLConnection.HTTP_BAD_REQUEST,
                    Retries.pauseAfter(answer, attempt));
        } catch (Authorization.BusyException e) {
            return new Failed(
                    new NoAnswerException(authorization.refused(e.answer())),
                    false,
                    Retries.pauseAfter(e.answer(), attempt));
        } catch (IOException e) {
            ConnectionFault fault = ConnectionFault.of(e);
            ForkdException why = errors.unreachable(request.doing(), e);
            return new Failed(
                    fault.isAnswer() ? why : new NoAnswerException(why),
                    !plain && fault.speaksNoTls(),
                    Retries.pauseAfter(fault, attempt));
        }
    }

    /** A challenge is answered if it is the registry's own: wherever else a redirect leads, its password is not for there. */
    private Answer ask(Request request, URI uri, URI base) throws IOException {
        Answer answer = send(request, uri, base, authorization.header());
        if (answer.status() != HttpURLConnection.HTTP_UNAUTHORIZED || !Redirects.sameOrigin(base, answer.from())) {
            return answer;
        }
        String challenge = answer.header("WWW-Authenticate").orElse("");
        return send(request, uri, base, authorization.answer(challenge, base));
    }

    private Answer send(Request request, URI uri, URI base, Optional<String> header) throws IOException {
        return redirects.follow(
                request.method(),
                uri,
                request.headers(),
                request.body(),
                Redirects.sameOrigin(base, uri) ? header : Optional.empty());
    }
}
