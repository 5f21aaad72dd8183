package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.daemon.Api.Answer;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import tools.jackson.databind.JsonNode;

/** Pools over REST v1, of guests on this machine's /dev/kvm. */
class PoolsApiTest {
    @RegisterExtension
    static final Service service = new Service();

    @AfterEach
    void removeAll() {
        for (JsonNode pool : service.api().get("/v1/pools").json()) {
            delete(pool.path("name").stringValue());
        }
    }

    private static void delete(String name) {
        assertThat(service.api().delete("/v1/pools/" + name).status()).isEqualTo(204);
    }

    private static JsonNode ok(int status, Answer answer) {
        assertThat(answer.status()).as(answer.text()).isEqualTo(status);
        return status == 204 ? null : answer.json();
    }

    private static JsonNode put(String name, String fields) {
        return ok(200, service.api().put("/v1/pools/" + name, "{'snapshot_tag':'py'" + fields + "}"));
    }

    private static JsonNode awaitReady(String name, int count) throws InterruptedException {
        JsonNode pool = ok(200, service.api().get("/v1/pools/" + name));
        for (int i = 0; i < 3000 && pool.path("ready").intValue() != count; i++) {
            Thread.sleep(10);
            pool = ok(200, service.api().get("/v1/pools/" + name));
        }
        assertThat(pool.path("ready").intValue()).as(pool.toString()).isEqualTo(count);
        return pool;
    }

    private static JsonNode take(String name) {
        return ok(201, service.api().post("/v1/pools/" + name + "/take", "{}"));
    }

    private static void giveBack(String id) {
        Answer answer = service.api().post("/v1/sandboxes/" + id + "/give-back");
        assertThat(answer.status()).as(answer.text()).isEqualTo(204);
    }

    @Test
    void hundred_lives_of_few_guests_each_knows_of_itself_alone() throws Exception {
        put("web", ",'size':2");
        awaitReady("web", 2);
        Set<String> ids = new HashSet<>();
        for (int i = 0; i < 100; i++) {
            String id = take("web").path("id").stringValue();
            assertThat(service.exec(id, "get", "life"))
                    .as("life " + i + " of " + id)
                    .doesNotContain("life-");
            assertThat(service.exec(id, "hostname")).isEqualTo(id);
            service.exec(id, "set", "life", "life-" + i);
            assertThat(service.exec(id, "get", "life")).isEqualTo("life-" + i);
            giveBack(id);
            ids.add(id);
        }
        assertThat(ids).as("most of them had many lives").hasSizeLessThan(20);
        assertThat(put("web", ",'size':2").path("taken").intValue()).isZero();
    }

    @Test
    void pool_tells_what_it_makes_and_how_it_is() throws Exception {
        JsonNode made = put("web", ",'size':2,'labels':{'tier':'one'},'ttl_secs':3600,'cpus':null");
        assertThat(made.path("owner").isNull()).isTrue();
        assertThat(made.path("snapshot_tag").stringValue()).isEqualTo("py");
        awaitReady("web", 2);
        assertThat(ok(200, service.api().get("/v1/pools")).size()).isEqualTo(1);
        JsonNode taken = ok(201, service.api().post("/v1/pools/web/take", "{'name':'mine','labels':{'who':'me'}}"));
        assertThat(taken.path("pool").path("name").stringValue()).isEqualTo("web");
        assertThat(taken.path("pool").path("state").stringValue()).isEqualTo("taken");
        assertThat(taken.path("ttl_secs").intValue()).isEqualTo(3600);
        assertThat(taken.path("labels").path("tier").stringValue()).isEqualTo("one");
        assertThat(taken.path("labels").path("who").stringValue()).isEqualTo("me");
        assertThat(awaitReady("web", 2).path("taken").intValue()).isEqualTo(1);
        giveBack("mine");
        JsonNode back =
                ok(200, service.api().get("/v1/sandboxes/" + taken.path("id").stringValue()));
        assertThat(back.path("pool").path("state").stringValue()).isEqualTo("ready");
        assertThat(back.path("name").isNull()).isTrue();
        assertThat(back.path("ttl_secs").isNull()).isTrue();
    }

    @Test
    void what_is_ready_can_be_seen_and_ended_and_nothing_else() throws Exception {
        put("web", "");
        awaitReady("web", 1);
        JsonNode ready = ok(200, service.api().get("/v1/sandboxes"))
                .valueStream()
                .filter(each -> each.path("pool").path("state").asString("").equals("ready"))
                .findFirst()
                .orElseThrow();
        String path = "/v1/sandboxes/" + ready.path("id").stringValue();
        for (Answer answer : List.of(
                service.api().post(path + "/exec", "{'args':['hostname']}"),
                service.api().post(path + "/ping"),
                service.api().post(path + "/pause"),
                service.api().post(path + "/reset"),
                service.api().post(path + "/fork", "{}"),
                service.api().post(path + "/branch", "{'tag':'other'}"),
                service.api().post(path + "/give-back"),
                service.api().put(path + "/name", "{'name':'mine'}"),
                service.api().put(path + "/labels", "{'labels':{'a':'b'}}"),
                service.api().put(path + "/timeout", "{'ttl_secs':1}"),
                service.api().put(path + "/network", "{'network':'none'}"),
                service.api().get(path + "/files?path=/etc/hostname"))) {
            assertThat(answer.status()).as(answer.text()).isEqualTo(409);
        }
        ok(204, service.api().delete(path));
        awaitReady("web", 1); // another
        assertThat(service.api().get(path).status()).isEqualTo(404);
    }

    @Test
    void wrong_requests_are_told_so() {
        assertThat(service.api()
                        .put("/v1/pools/web", "{'snapshot_tag':'absent'}")
                        .status())
                .isEqualTo(404);
        assertThat(service.api().put("/v1/pools/web", "{}").status()).isEqualTo(422);
        assertThat(service.api()
                        .put("/v1/pools/web", "{'snapshot_tag':'py','size':0}")
                        .status())
                .isEqualTo(400);
        assertThat(service.api()
                        .put("/v1/pools/web", "{'snapshot_tag':'py','size':101}")
                        .status())
                .isEqualTo(400);
        assertThat(service.api().put("/v1/pools/sb-1", "{'snapshot_tag':'py'}").status())
                .isEqualTo(400);
        assertThat(service.api().get("/v1/pools/web").status()).isEqualTo(404);
        assertThat(service.api().delete("/v1/pools/web").status()).isEqualTo(404);
        assertThat(service.api().post("/v1/pools/web/take", "{}").status()).isEqualTo(404);
        assertThat(service.api()
                        .post("/v1/sandboxes/" + service.sandbox() + "/give-back")
                        .status())
                .isEqualTo(409);
        assertThat(service.api()
                        .post("/v1/sandboxes/sb-00000000-00000000/give-back")
                        .status())
                .isEqualTo(404);
    }
}
