package io.forkd.daemon;

import io.forkd.Json;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.List;
import tools.jackson.databind.JsonNode;

/** A client that says by some headers who it is. */
record E2bClient(int port, List<String> headers) {
    private static final HttpClient HTTP =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    record Answer(int status, String text) {
        JsonNode json() {
            return Json.parse(text.getBytes(StandardCharsets.UTF_8));
        }
    }

    Answer get(String target) {
        return ask("GET", target, "");
    }

    Answer delete(String target) {
        return ask("DELETE", target, "");
    }

    /** With JSON in which apostrophes stand for quotes. */
    Answer post(String target, String json) {
        return ask("POST", target, json);
    }

    Answer ask(String method, String target, String json) {
        return send(method, target, "application/json", json.replace('\'', '"').getBytes(StandardCharsets.UTF_8));
    }

    Answer send(String method, String target, String type, byte[] body) {
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + target))
                .method(method, BodyPublishers.ofByteArray(body))
                .headers(headers.toArray(String[]::new))
                .header("Content-Type", type)
                .build();
        try {
            var answer = HTTP.send(request, BodyHandlers.ofString());
            return new Answer(answer.statusCode(), answer.body());
        } catch (IOException | InterruptedException e) {
            throw new AssertionError(method + " " + target, e);
        }
    }
}
