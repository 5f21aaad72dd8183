package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TokenTest {
    @TempDir
    Path scratch;

    private Token token(String content) throws Exception {
        return Token.read(Files.write(scratch.resolve("token"), content.getBytes(StandardCharsets.UTF_8)));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                " \n\t ",
                "0123456789abcde",
                "  0123456789abcde \n",
                "REPLACE_ME",
                "REPLACE_ME_with_a_long_one",
                " CHANGE_ME_0123456789abcdef",
                "0123456789abcdef\n0123456789abcdef",
                "0123456789abcd\u00e9",
                "0123456789abcdef\u0007x",
            })
    void what_is_no_token_is_refused(String content) {
        assertThatThrownBy(() -> token(content))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(scratch.resolve("token").toString());
    }

    @Test
    void a_file_that_is_missing_or_huge_is_refused() throws Exception {
        assertThatThrownBy(() -> Token.read(scratch.resolve("none"))).isInstanceOf(ForkdException.class);
        assertThatThrownBy(() -> Token.read(Path.of("/dev/zero"))).isInstanceOf(ForkdException.class);
        assertThatThrownBy(() -> token("x".repeat(5000))).isInstanceOf(ForkdException.class);
    }

    @ParameterizedTest
    @CsvSource(
            ignoreLeadingAndTrailingWhitespace = false,
            value = {
                "0123456789abcdef,Bearer 0123456789abcdef",
                " 0123456789abcdef ,Bearer  0123456789abcdef ",
                "replace_me_0123456,Bearer replace_me_0123456",
                "one two three four,Bearer one two three four",
            })
    void a_token_lets_in_who_names_it(String content, String authorization) throws Exception {
        token(content).check(authorization);
    }

    @ParameterizedTest
    @CsvSource({
        "'', needed",
        "Bearer, needed",
        "'Bearer  ', needed",
        "bearer 0123456789abcdef, needed",
        "Basic 0123456789abcdef, needed",
        "0123456789abcdef, needed",
        "Bearer0123456789abcdef, needed",
        "Bearer 0123456789abcdeF, not valid",
        "Bearer 0123456789abcdef0, not valid",
        "Bearer 0123456789abcde, not valid",
        "Bearer x, not valid",
    })
    void anybody_else_is_turned_away(String authorization, String text) throws Exception {
        Token token = token("0123456789abcdef");
        assertThatThrownBy(() -> token.check(authorization)).isInstanceOfSatisfying(HttpFailure.class, e -> {
            assertThat(e.status()).isEqualTo(401);
            assertThat(e.text()).contains(text);
        });
    }
}
