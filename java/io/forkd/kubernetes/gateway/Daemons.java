package io.forkd.kubernetes.gateway;

import io.forkd.Json;
import io.forkd.http.Header;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Relay;
import io.forkd.http.Response;
import io.forkd.kubernetes.gateway.Directory.Located;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import tools.jackson.databind.JsonNode;

/** The daemons of nodes, which a gateway asks with the token that they share. */
final class Daemons {
    private static final Duration PATIENCE = Duration.ofMinutes(5);
    private static final Duration CONNECT = Duration.ofSeconds(5);

    private final String token;
    private final HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(CONNECT)
            .build();

    Daemons(String token) {
        this.token = token;
    }

    /** @throws HttpFailure with the daemon's status, when it refuses */
    JsonNode ask(URI daemon, String method, String path, JsonNode body) throws IOException, InterruptedException {
        HttpRequest.BodyPublisher content = body.isMissingNode()
                ? HttpRequest.BodyPublishers.noBody()
                : HttpRequest.BodyPublishers.ofByteArray(Json.bytes(body));
        HttpRequest request = HttpRequest.newBuilder(daemon.resolve(path))
                .method(method, content)
                .timeout(PATIENCE)
                .header("Authorization", "Bearer " + token)
                .header("X-API-KEY", token)
                .header("Content-Type", "application/json")
                .build();
        HttpResponse<byte[]> answer = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
        if (answer.statusCode() >= 300) {
            JsonNode said = Json.parse(answer.body());
            throw new HttpFailure(
                    answer.statusCode(),
                    said.path("error").asString(said.path("message").asString("the daemon refuses")));
        }
        return answer.body().length == 0
                ? tools.jackson.databind.node.MissingNode.getInstance()
                : Json.parse(answer.body());
    }

    /** What is for the daemon itself: the caller's token stays here. */
    Response relay(HttpCall call, Located sandbox, String path) {
        return relay(
                call,
                sandbox,
                path,
                Set.of("authorization", "x-api-key"),
                List.of(new Header("Authorization", "Bearer " + token), new Header("X-API-KEY", token)));
    }

    /** What is for a port of a sandbox, which says itself whom it serves. */
    Response relayToPort(HttpCall call, Located sandbox, String port) {
        return relay(
                call,
                sandbox,
                call.path(),
                Set.of("e2b-sandbox-id", "e2b-sandbox-port", "x-api-key"),
                List.of(
                        new Header("E2b-Sandbox-Id", sandbox.id().replace("-", "")),
                        new Header("E2b-Sandbox-Port", port)));
    }

    private static Response relay(
            HttpCall call, Located sandbox, String path, Set<String> withheld, List<Header> told) {
        String target = call.query().isEmpty() ? path : path + "?" + call.query();
        SocketChannel channel;
        try {
            channel = SocketChannel.open();
            try {
                channel.socket()
                        .connect(
                                new InetSocketAddress(
                                        sandbox.daemon().getHost(),
                                        sandbox.daemon().getPort()),
                                (int) CONNECT.toMillis());
                channel.socket().setTcpNoDelay(true);
            } catch (IOException e) {
                channel.close();
                throw e;
            }
        } catch (IOException e) {
            throw new HttpFailure(502, "the node of the sandbox does not answer");
        }
        return Response.later(
                new Relay(call, new Relay.Rules(target, "", withheld, told, List.of(), PATIENCE), channel));
    }
}
