package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.http.Routes.Match;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RoutesTest {
    private static final Handler NONE = call -> Response.empty(204);

    private final Routes routes = new Routes()
            .get("/", NONE)
            .get("/things/:id", NONE)
            .get("/things/all", NONE)
            .post("/things/:id/run", NONE)
            .delete("/things/all/:what", NONE);

    @ParameterizedTest
    @CsvSource({
        "GET, /, /, {}",
        "GET, /things/a, /things/:id, {id=a}",
        "HEAD, /things/a, /things/:id, {id=a}",
        "GET, /things/all, /things/all, {}",
        "GET, /things/al%6c, /things/:id, {id=all}",
        "GET, /things/a%2Fb, /things/:id, {id=a/b}",
        "GET, /things/.., /things/:id, {id=..}",
        "GET, /things/a+b, /things/:id, {id=a+b}",
        "POST, /things/b/run, /things/:id/run, {id=b}",
        "DELETE, /things/all/run2, /things/all/:what, {what=run2}",
    })
    void the_most_literal_template_is_found(String method, String path, String template, String parameters) {
        assertThat(routes.find(method, path)).isInstanceOfSatisfying(Match.Found.class, found -> {
            assertThat(found.route().template()).isEqualTo(template);
            assertThat(found.parameters()).hasToString(parameters);
        });
    }

    @ParameterizedTest
    @CsvSource({
        "''",
        "*",
        "things",
        "/things",
        "/things/",
        "/things/a/",
        "/things//run",
        "/Things/a",
        "//",
        "/things/a/b/c"
    })
    void any_other_path_is_unknown(String path) {
        assertThat(routes.find("GET", path)).isInstanceOf(Match.Nothing.class);
    }

    @Test
    void two_handlers_for_one_thing_are_a_fault() {
        assertThatThrownBy(() -> routes.get("/things/:other", NONE)).isInstanceOf(IllegalArgumentException.class);
    }
}
