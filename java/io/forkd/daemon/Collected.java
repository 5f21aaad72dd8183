package io.forkd.daemon;

import io.forkd.Json;
import io.forkd.agent.AgentClient;
import io.forkd.http.Response;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import tools.jackson.databind.node.JsonNodeFactory;

/**
 * What a command in a guest writes, for an answer that is sent whole. Many may be collected at a time, and what they write
 * is the guests' choice: what is too much for one of them, or for all together, is left out, and said. It counts until its
 * client has read it, or is gone; as JSON, which may take six times the room, there is a piece of it at a time.
 */
final class Collected implements AgentClient.Output, AutoCloseable {
    private static final int MOST = 8 << 20;
    private static final long MOST_OF_ALL = 32L << 20;
    private static final int PIECE_CHARS = 32 << 10;

    private static final AtomicLong ALL = new AtomicLong();

    /** One that can be read without a copy. */
    private static final class Bytes extends ByteArrayOutputStream {
        ByteBuffer content() {
            return ByteBuffer.wrap(buf, 0, count);
        }

        boolean isWithinLine() {
            return count > 0 && buf[count - 1] != '\n';
        }
    }

    private final Bytes out = new Bytes();
    private final Bytes err = new Bytes();
    private final AtomicBoolean closed = new AtomicBoolean();
    private String note = "";
    private long counted;
    private long lost;

    @Override
    public void stdout(byte[] bytes) {
        collect(bytes, out);
    }

    @Override
    public void stderr(byte[] bytes) {
        collect(bytes, err);
    }

    private void collect(byte[] bytes, ByteArrayOutputStream to) {
        if (to.size() + bytes.length > MOST || ALL.addAndGet(bytes.length) > MOST_OF_ALL) {
            if (to.size() + bytes.length <= MOST) {
                ALL.addAndGet(-bytes.length);
            }
            lost += bytes.length;
            return;
        }
        counted += bytes.length;
        to.writeBytes(bytes);
    }

    /** Something that the client should read where errors are. */
    void note(String sentence) {
        note = sentence;
    }

    private String notes() {
        String text = Stream.of(note, lost == 0 ? "" : lost + " bytes of output were left out")
                .filter(line -> !line.isEmpty())
                .collect(Collectors.joining("\n"));
        return err.isWithinLine() && !text.isEmpty() ? "\n" + text : text;
    }

    /**
     * The object ExecResponse; it closes this when it is sent.
     *
     * @param warning what may have made the command fail
     */
    Response.Pieces answer(int exitCode, Optional<String> warning) {
        Deque<Part> parts = Stream.of(
                        new Part(
                                note.isEmpty() ? "{\"stdout\":\"" : "{\"error\":" + json(note) + ",\"stdout\":\"",
                                false),
                        new Part(out.content()),
                        new Part("\",\"stderr\":\"", false),
                        new Part(err.content()),
                        new Part(notes(), true),
                        new Part(
                                "\",\"exit_code\":" + exitCode
                                        + warning.map(text -> ",\"warning\":" + json(text))
                                                .orElse("")
                                        + "}",
                                false))
                .filter(part -> !part.isOver())
                .collect(Collectors.toCollection(ArrayDeque::new));
        return new Response.Pieces() {
            @Override
            public boolean hasNext() {
                return !parts.isEmpty();
            }

            @Override
            public byte[] next() {
                ByteArrayOutputStream piece = new ByteArrayOutputStream();
                do {
                    Part part = parts.element();
                    piece.writeBytes(part.next());
                    if (part.isOver()) {
                        parts.remove();
                    }
                } while (hasNext() && piece.size() < PIECE_CHARS);
                return piece.toByteArray();
            }

            @Override
            public void close() {
                Collected.this.close();
            }
        };
    }

    private static String json(String text) {
        return Json.text(JsonNodeFactory.instance.stringNode(text));
    }

    /** Some of the answer: text, or the inside of a JSON string that is made of it. */
    private static final class Part {
        private final ByteBuffer content;
        private final boolean encode;
        private final CharsetDecoder decoder = StandardCharsets.UTF_8
                .newDecoder()
                .onMalformedInput(CodingErrorAction.REPLACE)
                .onUnmappableCharacter(CodingErrorAction.REPLACE);

        Part(String text, boolean encode) {
            this(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)), encode);
        }

        Part(ByteBuffer content) {
            this(content, true);
        }

        private Part(ByteBuffer content, boolean encode) {
            this.content = content;
            this.encode = encode;
        }

        boolean isOver() {
            return !content.hasRemaining();
        }

        byte[] next() {
            if (!encode) {
                byte[] all = new byte[content.remaining()];
                content.get(all);
                return all;
            }
            CharBuffer chars = CharBuffer.allocate(PIECE_CHARS);
            decoder.decode(content, chars, true);
            byte[] quoted = json(chars.flip().toString()).getBytes(StandardCharsets.UTF_8);
            return Arrays.copyOfRange(quoted, 1, quoted.length - 1);
        }
    }

    /** It has been sent, or will not be. */
    @Override
    public void close() {
        if (closed.compareAndSet(false, true)) {
            ALL.addAndGet(-counted);
        }
    }
}
