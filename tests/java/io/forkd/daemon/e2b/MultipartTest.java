package io.forkd.daemon.e2b;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Bodies as browsers and E2B's clients send them, and as they do not. */
class MultipartTest {
    private static final String TYPE = "multipart/form-data; boundary=b0";

    /** At most so many bytes at a time, so that everything is cut somewhere. */
    private static InputStream slow(byte[] bytes, int most) {
        return new ByteArrayInputStream(bytes) {
            @Override
            public int read(byte[] into, int offset, int length) {
                return super.read(into, offset, Math.min(length, most));
            }
        };
    }

    private static List<String> parts(Multipart body) throws IOException {
        List<String> found = new ArrayList<>();
        for (Optional<Multipart.Part> part = body.next(); part.isPresent(); part = body.next()) {
            ByteArrayOutputStream content = new ByteArrayOutputStream();
            byte[] chunk = new byte[5];
            for (int count = body.read(chunk); count >= 0; count = body.read(chunk)) {
                content.write(chunk, 0, count);
            }
            found.add(part.get().name() + "|" + part.get().fileName().orElse("-") + "|"
                    + content.toString(StandardCharsets.ISO_8859_1));
        }
        return found;
    }

    private static Multipart of(String body, int most) {
        return Multipart.of(slow(body.getBytes(StandardCharsets.UTF_8), most), TYPE);
    }

    private static String part(String disposition, String content) {
        return "--b0\r\nContent-Disposition: form-data; " + disposition + "\r\nContent-Type: text/plain\r\n\r\n"
                + content + "\r\n";
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 7, 100, 100_000})
    void parts_come_one_after_the_other(int most) throws IOException {
        String body = "before\r\n" + part("name=\"file\"; filename=\"/a/b c\"", "x\r\n--b\r\n-b0")
                + part("name=file; filename=plain", "")
                + part("filename=\"of \\\"q\\\" %22p%22 c:\\\\d\\e;f\" ; name=\"file\"", "\r\n")
                + part("name=\"other\"", "y")
                + "--b0--\r\nafter";
        assertThat(parts(of(body, most)))
                .containsExactly(
                        "file|/a/b c|x\r\n--b\r\n-b0",
                        "file|plain|",
                        "file|of \"q\" \"p\" c:\\d\\e;f|\r\n",
                        "other|-|y");
    }

    @Test
    void large_part_is_what_it_was() throws IOException {
        byte[] content = new byte[300_001];
        new Random(1).nextBytes(content);
        String text = new String(content, StandardCharsets.ISO_8859_1);
        byte[] body =
                (part("name=\"file\"; filename=\"f\"", text) + "--b0--\r\n").getBytes(StandardCharsets.ISO_8859_1);
        assertThat(parts(Multipart.of(slow(body, 4096), TYPE))).containsExactly("file|f|" + text);
    }

    @Test
    void part_that_is_not_read_is_passed_over() throws IOException {
        Multipart body = of(part("name=\"a\"", "x".repeat(200_000)) + part("name=\"b\"", "y") + "--b0--", 9999);
        assertThat(body.next().orElseThrow().name()).isEqualTo("a");
        assertThat(body.next().orElseThrow().name()).isEqualTo("b");
        assertThat(body.next()).isEmpty();
    }

    @Test
    void body_that_ends_anywhere_is_no_whole_one() {
        String body = part("name=\"file\"; filename=\"f\"", "content") + "--b0--";
        for (int length = 0; length < body.length(); length++) {
            String cut = body.substring(0, length);
            assertThatThrownBy(() -> parts(of(cut, 10)))
                    .isInstanceOf(IOException.class)
                    .hasMessageContaining("ends before");
        }
    }

    @Test
    void head_that_is_too_long_is_refused() {
        assertThatThrownBy(() -> parts(of(part("name=\"" + "x".repeat(17_000), "y"), 10_000)))
                .isInstanceOf(ConnectFailure.class)
                .hasMessageContaining("head of a part");
        assertThatThrownBy(() -> parts(of("--b0\r\n" + "A: b\r\n".repeat(5_000) + "\r\n", 10_000)))
                .isInstanceOf(ConnectFailure.class);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    multipart/form-data; boundary="b0"             | true
                    multipart/form-data; charset=x; Boundary=b0    | true
                    multipart/form-data                            | false
                    multipart/form-data; boundary=                 | false
                    multipart/form-data; boundary                  | false
                    multipart/form-data; boundary="                | false
                    """)
    void boundary_is_what_the_type_says(String type, boolean good) throws IOException {
        byte[] body = (part("name=\"a\"", "y") + "--b0--").getBytes(StandardCharsets.US_ASCII);
        if (good) {
            assertThat(parts(Multipart.of(slow(body, 10), type))).containsExactly("a|-|y");
        } else {
            assertThatThrownBy(() -> Multipart.of(slow(body, 10), type)).isInstanceOf(ConnectFailure.class);
        }
    }
}
