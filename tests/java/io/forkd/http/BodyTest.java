package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class BodyTest {
    private static Body body(String json) {
        return Body.parse(json.getBytes(StandardCharsets.UTF_8));
    }

    private static void refused(String json, Consumer<Body> use, String text) {
        assertThatThrownBy(() -> use.accept(body(json))).isInstanceOfSatisfying(HttpFailure.class, e -> {
            assertThat(e.status()).isEqualTo(422);
            assertThat(e.text()).contains(text);
        });
    }

    @Test
    void fields_have_the_type_that_is_asked_for() {
        Body body = body("{\"t\":\"\u00e9\\ud83d\\ude00\",\"f\":true,\"n\":-9223372036854775808,\"l\":[\"a\",\"\"],"
                + "\"o\":{\"t\":\"in\"},\"none\":null,\"m\":\"diff\"}");
        assertThat(body.text("t")).isEqualTo("\u00e9\ud83d\ude00");
        assertThat(body.flag("f", false)).isTrue();
        assertThat(body.number("n", Long.MIN_VALUE, 0)).isEqualTo(Long.MIN_VALUE);
        assertThat(body.texts("l")).containsExactly("a", "");
        assertThat(body.optionalObject("o").orElseThrow().text("t")).isEqualTo("in");
        assertThat(body.optionalChoice("m", List.of("full", "diff"))).contains("diff");
        assertThat(body.names()).containsExactly("t", "f", "n", "l", "o", "none", "m");
    }

    @ParameterizedTest
    @ValueSource(strings = {"{}", "{\"x\":null}"})
    void what_is_optional_may_be_missing_or_null(String json) {
        Body body = body(json);
        assertThat(body.optionalText("x")).isEmpty();
        assertThat(body.optionalNumber("x", 0, 1)).isEmpty();
        assertThat(body.optionalObject("x")).isEmpty();
        assertThat(body.flag("x", true)).isTrue();
        refused(json, b -> b.text("x"), "the field x is missing");
        refused(json, b -> b.number("x", 0, 1), "the field x is missing");
        refused(json, b -> b.texts("x"), "the field x is missing");
    }

    @ParameterizedTest
    @ValueSource(strings = {"1", "true", "[\"a\"]", "{}", "\"\\ud800\"", "\"a\\udc00\""})
    void what_is_no_text_is_refused(String value) {
        refused("{\"x\":" + value + "}", b -> b.optionalText("x"), "the field x must be a text");
        refused("{\"x\":[\"a\"," + value + "]}", b -> b.texts("x"), "the field x[1] must be a text");
        refused(
                "{\"o\":{\"x\":" + value + "}}",
                b -> b.optionalObject("o").orElseThrow().text("x"),
                "o.x must be");
    }

    @ParameterizedTest
    @ValueSource(strings = {"-1", "11", "1.0", "1e0", "99999999999999999999", "1e400", "\"1\"", "true", "[]"})
    void what_is_no_such_number_is_refused(String value) {
        refused("{\"x\":" + value + "}", b -> b.optionalNumber("x", 0, 10), "a whole number from 0 to 10");
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "\"true\"", "[]"})
    void what_is_no_flag_is_refused(String value) {
        refused("{\"x\":" + value + "}", b -> b.flag("x", false), "true or false");
    }

    @Test
    void an_unknown_choice_is_refused() {
        refused("{\"x\":\"Full\"}", b -> b.optionalChoice("x", List.of("full", "diff")), "one of full, diff");
    }

    @Test
    void a_body_of_too_many_values_is_refused_before_they_are_all_there() {
        String many = "{\"x\":[" + "{},".repeat(600_000) + "{}]}";
        assertThatThrownBy(() -> Body.parse(many.getBytes(StandardCharsets.UTF_8)))
                .isInstanceOfSatisfying(
                        HttpFailure.class, e -> assertThat(e.status()).isEqualTo(400))
                .hasMessageContaining("oken");
    }

    @ParameterizedTest
    @ValueSource(strings = {"[]", "1", "null", "\"a\"", "true"})
    void what_is_no_object_is_refused(String json) {
        refused(json, b -> {}, "must be a JSON object");
    }
}
