package io.forkd.daemon.e2b;

import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/** Calls that clients send again when they have not heard the answer: one with the same key is answered as the first. */
final class Repeats {
    private static final Pattern KEY = Pattern.compile("[a-z0-9-]{1,255}");
    private static final int MOST = 1000;

    private final Map<String, CompletableFuture<Response>> answers = new LinkedHashMap<>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<String, CompletableFuture<Response>> eldest) {
            return size() > MOST;
        }
    };

    Response once(HttpCall http, Supplier<Response> job) {
        Optional<String> given = http.header("Idempotency-Key");
        if (given.isEmpty()) {
            return job.get();
        }
        if (!KEY.matcher(given.get()).matches()) {
            throw new HttpFailure(400, "an Idempotency-Key has 1 to 255 lower-case letters, digits and -");
        }
        String key = http.caller().name() + " " + given.get();
        CompletableFuture<Response> mine = new CompletableFuture<>();
        CompletableFuture<Response> first;
        synchronized (answers) {
            first = answers.putIfAbsent(key, mine);
        }
        if (first != null) {
            try {
                return first.join();
            } catch (CompletionException e) {
                return once(http, job); // It came to nothing, and is forgotten.
            }
        }
        try {
            Response answer = job.get();
            mine.complete(answer);
            return answer;
        } catch (RuntimeException e) {
            synchronized (answers) {
                answers.remove(key, mine);
            }
            mine.completeExceptionally(e);
            throw e;
        }
    }
}
