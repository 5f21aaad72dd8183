package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TokenFileTest {
    @TempDir
    Path scratch;

    private TokenFile token(String content) throws Exception {
        return TokenFile.read(Files.write(scratch.resolve("token"), content.getBytes(StandardCharsets.UTF_8)));
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
        assertThatThrownBy(() -> TokenFile.read(scratch.resolve("none"))).isInstanceOf(ForkdException.class);
        assertThatThrownBy(() -> TokenFile.read(Path.of("/dev/zero"))).isInstanceOf(ForkdException.class);
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
        assertThat(token(content).check(authorization).role()).isEqualTo(Caller.Role.ADMIN);
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
        TokenFile token = token("0123456789abcdef");
        assertThatThrownBy(() -> token.check(authorization)).isInstanceOfSatisfying(HttpFailure.class, e -> {
            assertThat(e.status()).isEqualTo(401);
            assertThat(e.text()).contains(text);
        });
    }

    private static final String HASH = "sha256:" + "a".repeat(64);

    @ParameterizedTest
    @CsvSource(
            ignoreLeadingAndTrailingWhitespace = false,
            delimiter = '|',
            value = {
                "anna H|a name, a hash and a role",
                "-anna H user|no name",
                "anna sha256:aa user|64 hexadecimal digits",
                "anna 0123456789abcdef user|64 hexadecimal digits",
                "anna H root|role",
                "anna H USER|role",
                "admin H user|cannot have the name",
                "anna H user sandboxes=|each once at most",
                "anna H user sandboxes=-1|each once at most",
                "anna H user sandboxes=1 sandboxes=1|each once at most",
                "anna H user cpus=1|each once at most",
                "anna H admin sandboxes=1|quotas are for",
                "first H user|there already",
                "anna sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb user|same secret",
            })
    void bad_line_is_named(String line, String why) throws Exception {
        String content = "# callers\nfirst sha256:" + "b".repeat(64) + " user\n\n" + line.replace("H", HASH) + "\n";
        assertThatThrownBy(() -> token(content))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(scratch.resolve("token").toString())
                .hasMessageContaining("line 4")
                .hasMessageContaining(why);
    }

    @Test
    void each_secret_is_its_callers() throws Exception {
        Path file = scratch.resolve("new").resolve("tokens");
        Quotas quotas = new Quotas(OptionalLong.of(10), OptionalLong.empty(), OptionalLong.of(0));
        String anna = TokenFile.add(file, "anna", Role.USER, quotas);
        String eyes = TokenFile.add(file, "eyes", Role.READ, Quotas.NONE);
        assertThat(Files.getPosixFilePermissions(file)).isEqualTo(PosixFilePermissions.fromString("rw-------"));
        assertThat(Files.readString(file)).doesNotContain(anna).doesNotContain(eyes);
        assertThat(TokenFile.read(file).check("Bearer " + anna))
                .isEqualTo(new Caller(Caller.Means.TOKEN, "anna", Role.USER, quotas));
        assertThat(TokenFile.read(file).check("Bearer " + eyes).text()).isEqualTo("token:eyes");
        assertThat(TokenFile.list(file)).extracting(Caller::name).containsExactly("anna", "eyes");

        assertThatThrownBy(() -> TokenFile.add(file, "anna", Role.READ, Quotas.NONE))
                .hasMessageContaining("already");
        assertThatThrownBy(() -> TokenFile.add(file, "no name", Role.READ, Quotas.NONE))
                .hasMessageContaining("'no name' is no name");
        TokenFile.remove(file, "anna");
        TokenFile.remove(file, "eyes");
        assertThatThrownBy(() -> TokenFile.remove(file, "eyes")).hasMessageContaining("no caller eyes");
        // Nobody is let in, which is no error: whose token was removed must not stay.
        TokenFile none = TokenFile.read(file);
        assertThatThrownBy(() -> none.check("Bearer " + anna)).isInstanceOf(HttpFailure.class);
    }

    @Test
    void file_that_is_there_keeps_its_mode_and_may_be_empty() throws Exception {
        Path file = Files.createFile(scratch.resolve("tokens"));
        Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rw-r-----"));
        assertThat(TokenFile.list(file)).isEmpty();

        String anna = TokenFile.add(file, "anna", Role.USER, Quotas.NONE);
        assertThat(Files.getPosixFilePermissions(file)).isEqualTo(PosixFilePermissions.fromString("rw-r-----"));
        assertThat(TokenFile.read(file).check("Bearer " + anna).name()).isEqualTo("anna");
        TokenFile.remove(file, "anna");
        assertThat(TokenFile.list(file)).isEmpty();
        assertThat(TokenFile.read(file)).isNotNull(); // nobody's, and no error
    }

    @Test
    void nobody_is_removed_from_a_file_that_is_not_there() {
        assertThatThrownBy(() -> TokenFile.remove(scratch.resolve("none"), "anna"))
                .hasMessageContaining("no such file");
        assertThat(scratch).isEmptyDirectory();
    }

    @Test
    void file_of_one_secret_is_not_added_to() throws Exception {
        Path file = Files.writeString(scratch.resolve("token"), "0123456789abcdef\n");
        assertThatThrownBy(() -> TokenFile.add(file, "anna", Role.USER, Quotas.NONE))
                .hasMessageContaining("one secret");
        assertThat(file).hasContent("0123456789abcdef\n");
    }
}
