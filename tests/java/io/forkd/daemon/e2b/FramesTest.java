package io.forkd.daemon.e2b;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.node.JsonNodeFactory;

/** The frames of Connect, byte by byte. */
class FramesTest {
    private static ByteArrayInputStream bytes(String hex) {
        return new ByteArrayInputStream(HexFormat.of().parseHex(hex));
    }

    private static String sent(Sender sender) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        sender.send(out);
        return HexFormat.of().formatHex(out.toByteArray());
    }

    private interface Sender {
        void send(ByteArrayOutputStream out) throws IOException;
    }

    @Test
    void message_has_flags_0_its_length_and_json() throws IOException {
        assertThat(sent(out ->
                        Frames.write(out, JsonNodeFactory.instance.objectNode().put("a", 1))))
                .isEqualTo("00" + "00000007" + "7b2261223a317d");
    }

    @Test
    void end_has_flags_2_and_says_why() throws IOException {
        assertThat(sent(Frames::end)).isEqualTo("02" + "00000002" + "7b7d");
        String json = "{\"error\":{\"code\":\"deadline_exceeded\",\"message\":\"over\"}}";
        assertThat(sent(out -> Frames.end(out, new ConnectFailure(Code.DEADLINE_EXCEEDED, "over"))))
                .isEqualTo("02" + HexFormat.of().toHexDigits(json.length())
                        + HexFormat.of().formatHex(json.getBytes(StandardCharsets.US_ASCII)));
    }

    @Test
    void messages_are_read_one_after_the_other() {
        ByteArrayInputStream in = bytes("00" + "00000007" + "7b2261223a317d" + "00" + "00000002" + "7b7d");
        assertThat(Frames.read(in).orElseThrow().number("a")).isEqualTo(1);
        assertThat(Frames.read(in).orElseThrow().has("a")).isFalse();
        assertThat(Frames.read(in)).isEmpty();
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    00 00 00 00              | INVALID_ARGUMENT   | cut off in its header
                    00 00 00 00 03 7b 7d     | INVALID_ARGUMENT   | is cut off
                    00 00 00 00 00           | INVALID_ARGUMENT   | not JSON
                    00 00 00 00 02 5b 5d     | INVALID_ARGUMENT   | JSON object
                    00 00 00 00 02 7b 00     | INVALID_ARGUMENT   | zero byte
                    00 00 00 00 04 7b 22 ff 22 | INVALID_ARGUMENT | not UTF-8
                    01 00 00 00 02 7b 7d     | UNIMPLEMENTED      | compressed
                    02 00 00 00 02 7b 7d     | INVALID_ARGUMENT   | the flags 2
                    80 00 00 00 02 7b 7d     | INVALID_ARGUMENT   | the flags 128
                    00 00 40 00 01           | RESOURCE_EXHAUSTED | longer than
                    00 ff ff ff ff           | RESOURCE_EXHAUSTED | longer than
                    """)
    void what_is_no_message_is_refused(String hex, Code code, String why) {
        ConnectFailure failure =
                catchThrowableOfType(ConnectFailure.class, () -> Frames.read(bytes(hex.replace(" ", ""))));
        assertThat(failure.code()).isEqualTo(code);
        assertThat(failure.text()).contains(why);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    ''                                          | there is no message
                    00 00 00 00 02 7b 7d 00 00 00 00 02 7b 7d   | more than one
                    """)
    void call_of_one_message_has_one(String hex, String why) {
        ConnectFailure failure =
                catchThrowableOfType(ConnectFailure.class, () -> Frames.single(bytes(hex.replace(" ", ""))));
        assertThat(failure.text()).contains(why);
    }

    private static Fields fields(String json) {
        return Fields.parse(json.replace('\'', '"').getBytes(StandardCharsets.UTF_8));
    }

    @Test
    void fields_are_as_protocol_buffers_have_them() {
        Fields message = fields("{'watcher_id':'a','includeEntry':true,'x':null,'b':'_-8','list':['1'],'signal':9}");
        assertThat(message.text("watcherId")).isEqualTo("a");
        assertThat(message.flag("includeEntry", false)).isTrue();
        assertThat(message.has("x")).isFalse();
        assertThat(message.bytes("b"))
                .hasValueSatisfying(bytes -> assertThat(bytes).containsExactly(0xff, 0xef));
        assertThat(message.texts("list")).containsExactly("1");
        assertThat(message.choice("signal")).isEqualTo("9");
        assertThat(message.text("absent")).isEmpty();
        assertThat(message.flag("absent", true)).isTrue();
        assertThat(message.number("absent")).isZero();
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    {'f':1}              | text
                    {'f':'\\ud800'}      | text
                    {'f':'true'}         | flag
                    {'f':-1}             | number
                    {'f':1.5}            | number
                    {'f':'?'}            | bytes
                    {'f':{}}             | texts
                    {'f':{'a':1}}        | map
                    {'f':[]}             | object
                    """)
    void field_of_another_type_is_refused(String json, String type) {
        Fields message = fields(json.replace("\\\\", "\\"));
        ConnectFailure failure = catchThrowableOfType(ConnectFailure.class, () -> {
            switch (type) {
                case "text" -> message.text("f");
                case "flag" -> message.flag("f", true);
                case "number" -> message.number("f");
                case "bytes" -> message.bytes("f");
                case "texts" -> message.texts("f");
                case "map" -> message.map("f");
                default -> message.object("f");
            }
        });
        assertThat(failure.text()).contains("the field f must be");
    }

    /** Whatever comes, it is taken or refused. */
    @Test
    void noise_is_refused() {
        java.util.Random random = new java.util.Random(7);
        byte[] good = ByteBuffer.allocate(12)
                .put((byte) 0)
                .putInt(7)
                .put("{\"a\":1}".getBytes(StandardCharsets.US_ASCII))
                .array();
        for (int i = 0; i < 20_000; i++) {
            byte[] bytes = good.clone();
            bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
            bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
            try {
                Frames.single(new ByteArrayInputStream(bytes, 0, random.nextInt(bytes.length + 1)));
            } catch (ConnectFailure e) {
                assertThat(e.text()).isNotEmpty();
            }
        }
    }
}
