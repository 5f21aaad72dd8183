package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.daemon.Api.Answer;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import tools.jackson.databind.JsonNode;

/** Sandboxes put back over REST v1, of guests on this machine's /dev/kvm. */
class ResetApiTest {
    @RegisterExtension
    static final Service service = new Service();

    private static String path(String id, String action) {
        return "/v1/sandboxes/" + id + "/" + action;
    }

    private static JsonNode reset(String id) {
        Answer answer = service.api().post(path(id, "reset"));
        assertThat(answer.status()).as(answer.text()).isEqualTo(200);
        return answer.json();
    }

    @Test
    void guest_has_forgotten_everything_and_the_sandbox_nothing() {
        Answer made = service.api()
                .post("/v1/sandboxes", "{'snapshot_tag':'py','name':'web','labels':{'a':'b'},'ttl_secs':3600}");
        JsonNode before = made.json().get(0);
        String id = before.path("id").stringValue();
        for (int i = 0; i < 3; i++) {
            service.exec(id, "set", "work", "done");
            assertThat(service.exec(id, "get", "work")).isEqualTo("done");
            assertThat(reset(i == 0 ? "web" : id)).isEqualTo(before);
            assertThat(service.exec(id, "get", "work")).isNotEqualTo("done");
            assertThat(service.exec(id, "hostname")).isEqualTo(id);
        }
    }

    @Test
    void command_that_runs_ends_with_an_error() throws Exception {
        String id = service.sandbox();
        CompletableFuture<Answer> running = CompletableFuture.supplyAsync(
                () -> service.api().post(path(id, "exec"), "{'args':['sleep','60'],'timeout_secs':100}"));
        Thread.sleep(500); // until it runs; when it does not, it waits for the new guest, and is in time
        reset(id);
        Answer answer = running.get(90, TimeUnit.SECONDS);
        assertThat(answer.status()).as(answer.text()).isGreaterThanOrEqualTo(500);
        assertThat(answer.error()).contains("connection");
        assertThat(service.exec(id, "hostname")).isEqualTo(id);
    }

    @Test
    void what_cannot_be_put_back_is_refused() {
        String id = service.sandbox();
        Answer fork = service.api().post(path(id, "fork"), "{}");
        String forked = fork.json().get(0).path("id").stringValue();
        Answer ofFork = service.api().post(path(forked, "reset"));
        assertThat(ofFork.status()).as(ofFork.text()).isEqualTo(409);
        assertThat(ofFork.error()).contains("cannot be reset");
        service.api().post(path(id, "pause"));
        assertThat(service.api().post(path(id, "reset")).status()).isEqualTo(409);
        service.api().post(path(id, "resume"));
        assertThat(service.api().post(path(id, "reset")).error()).contains("it was paused");
        assertThat(service.api().post(path("sb-00000000-00000000", "reset")).status())
                .isEqualTo(404);
    }
}
