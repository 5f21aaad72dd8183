package io.forkd.daemon;

import io.forkd.Json;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.JsonNode;

/** A client, each answer to which must be one that the OpenAPI document has. */
final class Api {
    private static final Document DOCUMENT = new Document();
    private static final HttpClient HTTP =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    private final String base;
    private final List<String> headers = new ArrayList<>();

    /** An answer. */
    record Answer(int status, String text, HttpResponse<String> response) {
        JsonNode json() {
            return Json.parse(text.getBytes(StandardCharsets.UTF_8));
        }

        String error() {
            return json().path("error").stringValue();
        }

        String text(String field) {
            return json().path(field).stringValue();
        }
    }

    Api(InetSocketAddress address, String... headers) {
        base = "http://127.0.0.1:" + address.getPort();
        this.headers.addAll(List.of(headers));
    }

    Answer get(String target) {
        return ask("GET", target, BodyPublishers.noBody());
    }

    Answer delete(String target) {
        return ask("DELETE", target, BodyPublishers.noBody());
    }

    /** With nothing at all. */
    Answer post(String target) {
        return ask("POST", target, BodyPublishers.noBody());
    }

    /** With JSON in which apostrophes stand for quotes. */
    Answer post(String target, String json) {
        return post(target, json.replace('\'', '"').getBytes(StandardCharsets.UTF_8));
    }

    /** As {@link #post(String, String)}. */
    Answer put(String target, String json) {
        return ask(
                "PUT",
                target,
                BodyPublishers.ofByteArray(json.replace('\'', '"').getBytes(StandardCharsets.UTF_8)),
                "Content-Type",
                "application/json");
    }

    Answer post(String target, byte[] body) {
        return ask("POST", target, BodyPublishers.ofByteArray(body), "Content-Type", "application/json");
    }

    Answer ask(String method, String target, BodyPublisher body, String... more) {
        HttpRequest.Builder request =
                HttpRequest.newBuilder(URI.create(base + target)).method(method, body);
        List<String> all = new ArrayList<>(headers);
        all.addAll(List.of(more));
        if (!all.isEmpty()) {
            request.headers(all.toArray(String[]::new));
        }
        try {
            HttpResponse<String> response = HTTP.send(request.build(), BodyHandlers.ofString());
            if (!method.equals("HEAD")) {
                DOCUMENT.check(
                        method,
                        target,
                        response.statusCode(),
                        response.headers().firstValue("Content-Type").orElse(""),
                        response.body());
            }
            return new Answer(response.statusCode(), response.body(), response);
        } catch (IOException e) {
            throw new AssertionError(method + " " + target, e);
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }
}
