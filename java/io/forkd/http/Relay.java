package io.forkd.http;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.eclipse.jetty.http.HttpException;
import org.eclipse.jetty.http.HttpField;
import org.eclipse.jetty.http.HttpParser;
import org.eclipse.jetty.http.HttpVersion;
import org.eclipse.jetty.util.BufferUtil;

/**
 * Passes a call on to a server at the other end of a channel, which speaks HTTP/1.1 and is not trusted, and what it answers
 * back. Bodies go through as they come, in both directions at once. What concerns one connection only stays on it.
 *
 * <p>A server that does not take what it is sent, or has taken all and does not begin to answer, is waited for so long and no
 * longer. Once it has begun it may be silent, as those of events and of WebSockets are.
 */
public final class Relay implements Response.Job {
    private static final int CHUNK = 64 << 10;
    private static final int MOST_HEAD = 64 << 10;

    /** Of what is passed on: there has to be room for what we say, too. */
    private static final int MOST_PASSED = HttpServer.MOST_HEAD - (1 << 10);

    /** The parser's own bound, which is for trailers: a head is refused before. */
    private static final int MOST_TRAILER = 256 << 10;

    private static final String WEBSOCKET = "websocket";

    /** RFC 9110, section 7.6.1, and what each hop has its own of. */
    private static final Set<String> HOP = Set.of(
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "expect");

    /** Without its length, a body would be taken for the next request. */
    private static final Set<String> MESSAGE = Set.of("content-length", "host");

    /** Said by who passes it on, and believed by who gets it. */
    private static final Set<String> FORWARDED = Set.of(
            "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-proto", "x-real-ip");

    /**
     * What is passed on, and how.
     *
     * @param target what the server is asked for: a path, and the query
     * @param prefix what the client has before that
     * @param withheld what was for us of what the client sends: names of fields, in lower case
     * @param told to the server, beside what the client sends
     * @param added to what the server answers
     * @param patience with a server that neither takes nor answers
     */
    public record Rules(
            String target,
            String prefix,
            Set<String> withheld,
            List<Header> told,
            List<Header> added,
            Duration patience) {}

    private final HttpCall call;
    private final Rules rules;
    private final PatientChannel server;
    private final Answer answer;
    private final Patience answering;
    private boolean tunnelled;

    /**
     * Asks nothing yet.
     *
     * @param server is closed when the call is over; to close it ends what waits in it
     */
    public Relay(HttpCall call, Rules rules, ByteChannel server) {
        this.call = call;
        this.rules = rules;
        this.answering = new Patience(rules.patience(), this::closeServer);
        this.server = new PatientChannel(server, new Patience(rules.patience(), this::closeServer));
        this.answer = new Answer(this.server, call.method().equals("HEAD"));
        call.onCancel(this::closeServer);
    }

    @Override
    public Response run() {
        try {
            write(server, head());
            if (!hasBody()) {
                answering.begin();
            } else {
                Thread feeder = new Thread(this::feed, "forkd-relay");
                feeder.setDaemon(true);
                feeder.start();
            }
            do {
                answer.readHead();
            } while (answer.status < 200 && answer.status != 101);
        } catch (IOException e) {
            if (answering.isOver() || server.isLate()) {
                throw new HttpFailure(
                        504,
                        "what listens there has "
                                + (answering.isOver() ? "not begun to answer" : "not taken the request") + " for "
                                + rules.patience().toSeconds() + " s");
            }
            throw new HttpFailure(502, "what listens there does not answer as HTTP has it: " + e.getMessage());
        } finally {
            answering.close();
        }
        if (answer.status == 101) {
            if (!wantsWebSocket()) {
                throw new HttpFailure(502, "what listens there changes to a protocol that nobody asked for");
            }
            tunnelled = true;
            List<Header> headers = passed(answer.headers);
            headers.add(new Header("Connection", "Upgrade"));
            headers.add(new Header("Upgrade", WEBSOCKET));
            return Response.upgrade(headers, new Splice(server, answer.rest()));
        }
        List<Header> headers = passed(answer.headers);
        headers.addAll(rules.added());
        return Response.stream(answer.status, headers, answer::copyBody);
    }

    @Override
    public void close() {
        if (!tunnelled) {
            closeServer();
        }
    }

    private void closeServer() {
        try {
            server.close();
        } catch (IOException e) {
            // Nobody reads it any more.
        }
    }

    private static void write(ByteChannel to, byte[] bytes) throws IOException {
        Splice.write(to, ByteBuffer.wrap(bytes));
    }

    // --- the request ---

    private boolean hasBody() {
        return isChunked()
                || call.header("Content-Length")
                        .filter(length -> !length.strip().equals("0"))
                        .isPresent();
    }

    private boolean isChunked() {
        return call.header("Transfer-Encoding").isPresent();
    }

    private boolean wantsWebSocket() {
        return call.header("Upgrade").filter(WEBSOCKET::equalsIgnoreCase).isPresent()
                && named(call.headers()).contains("upgrade");
    }

    /** What the fields Connection name. */
    private static Set<String> named(List<Header> headers) {
        return headers.stream()
                .filter(header -> header.name().equalsIgnoreCase("Connection"))
                .flatMap(header -> Arrays.stream(header.value().split(",", -1)))
                .map(name -> name.strip().toLowerCase(Locale.ROOT))
                .collect(Collectors.toSet());
    }

    /** Without what concerns the connection that they came by; what a message is, and for whom, Connection cannot take away. */
    private static Stream<Header> endToEnd(List<Header> headers) {
        Set<String> named = named(headers);
        return headers.stream().filter(header -> {
            String name = header.name().toLowerCase(Locale.ROOT);
            return !HOP.contains(name) && (!named.contains(name) || MESSAGE.contains(name));
        });
    }

    private byte[] head() {
        StringBuilder head = new StringBuilder();
        head.append(call.method()).append(' ').append(rules.target()).append(" HTTP/1.1\r\n");
        endToEnd(call.headers())
                .filter(header -> !FORWARDED.contains(header.name().toLowerCase(Locale.ROOT)))
                .filter(header -> !rules.withheld().contains(header.name().toLowerCase(Locale.ROOT)))
                .filter(header -> !(isChunked() && header.name().equalsIgnoreCase("Content-Length")))
                .forEach(header -> add(head, header.name(), header.value()));
        rules.told().forEach(header -> add(head, header.name(), header.value()));
        if (!call.remote().equals("unix")) {
            add(head, "X-Forwarded-For", call.remote().replaceFirst(":[0-9]+$", ""));
        }
        call.header("Host").ifPresent(host -> add(head, "X-Forwarded-Host", host));
        add(head, "X-Forwarded-Proto", call.isSecure() ? "https" : "http");
        if (!rules.prefix().isEmpty()) {
            add(head, "X-Forwarded-Prefix", rules.prefix());
        }
        if (isChunked()) {
            add(head, "Transfer-Encoding", "chunked");
        }
        if (wantsWebSocket()) {
            add(head, "Connection", "Upgrade");
            add(head, "Upgrade", WEBSOCKET);
        } else {
            add(head, "Connection", "close");
        }
        return head.append("\r\n").toString().getBytes(StandardCharsets.ISO_8859_1);
    }

    private static void add(StringBuilder head, String name, String value) {
        head.append(name).append(": ").append(value).append("\r\n");
    }

    private void feed() {
        byte[] chunk = new byte[CHUNK];
        boolean chunked = isChunked();
        try {
            InputStream body = call.input();
            for (int count = read(body, chunk); count >= 0; count = read(body, chunk)) {
                if (chunked) {
                    write(server, (Integer.toHexString(count) + "\r\n").getBytes(StandardCharsets.US_ASCII));
                }
                Splice.write(server, ByteBuffer.wrap(chunk, 0, count));
                if (chunked) {
                    write(server, new byte[] {'\r', '\n'});
                }
            }
            if (chunked) {
                write(server, "0\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            }
            answering.begin();
        } catch (IOException e) {
            // The server takes no more, which it may, and most often has said why. Or the client is gone: see read.
        }
    }

    /** Half a body must not be taken for a whole. */
    private int read(InputStream body, byte[] chunk) throws IOException {
        try {
            return body.read(chunk);
        } catch (IOException e) {
            closeServer();
            throw e;
        }
    }

    // --- the answer ---

    /** Without what is this connection's, or ours to say. */
    private static List<Header> passed(List<Header> headers) {
        int length = headers.stream()
                .mapToInt(header -> header.name().length() + header.value().length() + 4)
                .sum();
        if (length > MOST_PASSED) {
            throw new HttpFailure(
                    502, "what listens there answers with a head of more than " + (MOST_PASSED >> 10) + " KiB");
        }
        return endToEnd(headers)
                .filter(header -> !header.name().equalsIgnoreCase("Date"))
                .map(header -> header.name().equalsIgnoreCase("Set-Cookie") ? ofHostAlone(header) : header)
                .collect(Collectors.toCollection(ArrayList::new));
    }

    /** One for the domain would be sent to other sandboxes, which may be others'. RFC 6265, section 5.2. */
    private static Header ofHostAlone(Header cookie) {
        String[] parts = cookie.value().split(";", -1);
        String attributes = Arrays.stream(parts)
                .skip(1)
                .filter(part -> !part.split("=", 2)[0].strip().equalsIgnoreCase("domain"))
                .map(part -> ";" + part)
                .collect(Collectors.joining());
        return new Header(cookie.name(), parts[0] + attributes);
    }

    /** What the server says, taken apart by Jetty's parser, which bounds it. */
    private static final class Answer implements HttpParser.ResponseHandler {
        private final ByteChannel server;
        private final boolean head;
        private final HttpParser parser;
        private final ByteBuffer buffer = ByteBuffer.allocate(CHUNK).flip();
        private final Deque<ByteBuffer> content = new ArrayDeque<>();
        private int status;
        private List<Header> headers = new ArrayList<>();
        private boolean headIsRead;
        private boolean complete;
        private Optional<String> wrong = Optional.empty();

        Answer(ByteChannel server, boolean head) {
            this.server = server;
            this.head = head;
            this.parser = new HttpParser(this, MOST_TRAILER);
            this.parser.setHeadResponse(head);
        }

        /** The next one's: there may be some before the one that counts. */
        void readHead() throws IOException {
            if (complete) {
                parser.reset();
                parser.setHeadResponse(head);
            }
            int taken = 0;
            headIsRead = false;
            complete = false;
            headers = new ArrayList<>();
            while (!headIsRead) {
                if (!buffer.hasRemaining()) {
                    if (!fill()) {
                        throw new IOException("it closed the connection before its answer");
                    }
                    taken += buffer.remaining();
                }
                if (taken > MOST_HEAD) {
                    throw new IOException("its head has more than " + MOST_HEAD + " bytes");
                }
                parse(buffer);
            }
            if (status < 200 && status != 101) {
                while (!complete) {
                    parse(buffer); // Which needs no more bytes: such an answer has no body.
                }
            }
        }

        private void parse(ByteBuffer bytes) throws IOException {
            parser.parseNext(bytes);
            if (wrong.isPresent()) {
                throw new IOException(wrong.get());
            }
        }

        private boolean fill() throws IOException {
            buffer.clear();
            try {
                return server.read(buffer) >= 0;
            } finally {
                buffer.flip();
            }
        }

        void copyBody(OutputStream out) throws IOException {
            while (!complete) {
                parse(buffer);
                boolean some = !content.isEmpty();
                while (!content.isEmpty()) {
                    ByteBuffer bytes = content.remove();
                    out.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
                }
                if (!complete && !some && !buffer.hasRemaining()) {
                    out.flush(); // As there may be nothing more for long.
                    if (!fill()) {
                        parser.atEOF();
                        parse(BufferUtil.EMPTY_BUFFER);
                        if (!complete) {
                            throw new IOException("it closed the connection before the end of its answer");
                        }
                    }
                }
            }
        }

        /** What came behind the head. */
        ByteBuffer rest() {
            return buffer;
        }

        @Override
        public void startResponse(HttpVersion version, int code, String reason) {
            status = code;
        }

        @Override
        public void parsedHeader(HttpField field) {
            headers.add(new Header(field.getName(), field.getValue() == null ? "" : field.getValue()));
        }

        @Override
        public boolean headerComplete() {
            headIsRead = true;
            return true;
        }

        @Override
        public boolean content(ByteBuffer item) {
            content.add(item);
            return true;
        }

        @Override
        public boolean contentComplete() {
            return false;
        }

        @Override
        public boolean messageComplete() {
            complete = true;
            return true;
        }

        @Override
        public void earlyEOF() {
            wrong = Optional.of("it closed the connection before the end of its answer");
        }

        @Override
        public void badMessage(HttpException failure) {
            wrong = Optional.of(failure.getReason() == null ? "it is not HTTP" : failure.getReason());
        }
    }
}
