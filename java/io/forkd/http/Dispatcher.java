package io.forkd.http;

import io.forkd.ForkdException;
import io.forkd.http.Response.Content;
import io.forkd.http.Routes.Match;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;
import java.util.regex.Pattern;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.server.Handler.Abstract;
import org.eclipse.jetty.server.HttpStream;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.util.Callback;
import org.eclipse.jetty.util.IteratingCallback;
import org.eclipse.jetty.util.thread.Invocable;
import org.eclipse.jetty.util.thread.Scheduler;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.JsonNodeFactory;

/**
 * The way of a request: who asks, what for, its body, its handler, its answer. All but the handler is done on Jetty's few
 * threads, which never wait for a client: so a slow one costs a connection, and no thread.
 */
final class Dispatcher extends Abstract.NonBlocking {
    /** Attributes of a request, for the audit log and the metrics. */
    static final String TEMPLATE = "io.forkd.http.template";

    static final String CALLER = "io.forkd.http.caller";

    /** As many times the longest body is read and thrown away before a client that sends more is cut off. */
    private static final int PATIENCE = 8;

    /** When it has its answer, what it still sends is read and thrown away for so long, and so much of it. */
    private static final Duration LINGER = Duration.ofSeconds(10);

    private static final long LINGER_BYTES = 256L << 20;

    /** Of that, as much at once, so that others have their turn. */
    private static final int LINGER_TURN = 1 << 20;

    /** An answer of so many bytes is not counted: each connection may have one. */
    private static final int SHORT = 4096;

    /** Addresses, and names that no server of the internet's names can give. */
    private static final Pattern LOCAL = Pattern.compile("[^.]*|[0-9.]+|.*\\.localhost", Pattern.CASE_INSENSITIVE);

    private final Routes routes;
    private final Limits limits;
    private final Function<ForkdException, HttpFailure> failures;
    private final CallPool pool;
    private final Set<Exchange> exchanges = ConcurrentHashMap.newKeySet();
    private final Set<Exchange> handedOver = ConcurrentHashMap.newKeySet(); // whose connections are
    private final AtomicLong bodyBytes = new AtomicLong();
    private final AtomicLong answerBytes = new AtomicLong();
    private volatile Optional<TokenFile> tokens;
    private volatile boolean stopping;

    Dispatcher(
            Routes routes, Limits limits, Function<ForkdException, HttpFailure> failures, Optional<TokenFile> tokens) {
        this.routes = routes;
        this.limits = limits;
        this.failures = failures;
        this.tokens = tokens;
        this.pool = new CallPool(limits.callsAtOnce(), limits.callsWaiting());
    }

    Optional<Caller> caller(String name) {
        return tokens.flatMap(file -> file.caller(name));
    }

    /** From now on; what goes on for who may no more is ended. */
    void use(TokenFile changed) {
        tokens = Optional.of(changed);
        exchanges.forEach(Exchange::endIfRefused);
        handedOver.forEach(Exchange::endIfRefused);
    }

    @Override
    public boolean handle(Request request, org.eclipse.jetty.server.Response response, Callback callback) {
        new Exchange(request, response, callback).begin();
        return true;
    }

    /** Answers no more new calls. */
    void beginStop() {
        stopping = true;
    }

    /** Whether all that had come is answered. */
    boolean awaitIdle(long nanos) throws InterruptedException {
        long end = System.nanoTime() + nanos;
        while (!exchanges.isEmpty()) {
            if (System.nanoTime() - end > 0) {
                return false;
            }
            Thread.sleep(1);
        }
        return true;
    }

    void cancelAll() {
        exchanges.forEach(Exchange::cancel);
    }

    void close() {
        pool.close();
    }

    long bodyBytes() {
        return bodyBytes.get();
    }

    static String remote(Request request) {
        if (request.getConnectionMetaData().getRemoteSocketAddress() instanceof InetSocketAddress remote) {
            String host = remote.getAddress().getHostAddress();
            return (host.contains(":") ? "[" + host + "]" : host) + ":" + remote.getPort();
        }
        return "unix";
    }

    private static String header(Request request, HttpHeader header) {
        return Optional.ofNullable(request.getHeaders().get(header)).orElse("");
    }

    /** What was written last, and not flushed, goes out with the end. */
    private static final class StreamOutput extends BufferedOutputStream {
        private static final int SIZE = 8192;

        StreamOutput(OutputStream out) {
            super(out, SIZE);
        }

        synchronized ByteBuffer rest() {
            return ByteBuffer.wrap(buf, 0, count);
        }
    }

    /** One request. */
    private final class Exchange {
        private final Request request;
        private final org.eclipse.jetty.server.Response response;
        private final Callback callback;
        private final String path;
        private volatile Dialect dialect = Dialect.V1;
        private volatile @Nullable HttpCall call;
        private volatile Optional<RequestInput> input = Optional.empty();
        private volatile boolean unread; // some of the body may still come, and nobody else reads it
        private volatile Optional<TunnelConnection> tunnel = Optional.empty();

        Exchange(Request request, org.eclipse.jetty.server.Response response, Callback callback) {
            this.request = request;
            this.response = response;
            this.callback = callback;
            this.path = Optional.ofNullable(request.getHttpURI().getPath()).orElse("");
        }

        void begin() {
            exchanges.add(this);
            Request.addCompletionListener(request, failure -> {
                exchanges.remove(this);
                input.ifPresent(RequestInput::close);
            });
            // A handler may be silent for as long as it likes.
            request.addIdleTimeoutListener(timeout -> false);
            try {
                Optional<Match.Found> claimed = routes.findClaimed(Request.getServerName(request), path, this::field);
                claimed.ifPresent(found -> dialect = found.route().handler().dialect());
                if (claimed.isEmpty() && HttpServer.HEALTH.contains(path)) {
                    request.setAttribute(CALLER, Caller.NOBODY);
                    request.setAttribute(TEMPLATE, "/healthz");
                    new Reading(health()).run();
                    return;
                }
                Match match = claimed.<Match>map(found -> found).orElseGet(this::find);
                Caller caller = authenticate(claimed.isPresent());
                request.setAttribute(CALLER, caller);
                if (match instanceof Match.OtherMethods other) {
                    request.setAttribute(TEMPLATE, other.template());
                    new Reading(notAllowed(other.allowed())).run();
                } else if (match instanceof Match.Found found) {
                    request.setAttribute(TEMPLATE, found.route().template());
                    admit(found, caller);
                } else {
                    throw new HttpFailure(404, "there is no " + path + " here");
                }
            } catch (HttpFailure failure) {
                new Reading(answer(failure)).run();
            }
        }

        /** What the path is for. That it is none is told to nobody who may not ask. */
        private Match find() {
            try {
                Match match = routes.find(request.getMethod(), path);
                if (match instanceof Match.Found found) {
                    dialect = found.route().handler().dialect();
                }
                return match;
            } catch (HttpFailure wrong) {
                authenticate(false);
                throw wrong;
            }
        }

        private Optional<String> field(String name) {
            return Optional.ofNullable(request.getHeaders().get(name));
        }

        private Caller authenticate(boolean hosted) {
            if (dialect.isOpen()) {
                return Caller.NOBODY;
            }
            if (request.getConnectionMetaData().getConnection() instanceof ClientConnection connection
                    && !connection.user().isEmpty()) {
                return Caller.unix(connection.user());
            }
            if (tokens.isEmpty()) {
                requireNoOtherSite(hosted);
                return Caller.NOBODY;
            }
            return tokens.get().check(dialect.authorization(this::field).orElse(""));
        }

        /**
         * Without a token everybody on this machine is served, but not the web pages that a browser on it shows: those say
         * where they are from (Fetch Metadata, or Origin of what writes in older browsers), and, when they made their own
         * name point here, ask for that name. A host of a domain that is served is one that they cannot make point here, and
         * its pages may ask it itself.
         */
        private void requireNoOtherSite(boolean hosted) {
            String site = Optional.ofNullable(request.getHeaders().get("Sec-Fetch-Site"))
                    .orElse("");
            String host = Request.getServerName(request);
            String origin = header(request, HttpHeader.ORIGIN);
            if (site.equals("cross-site")
                    || site.equals("same-site")
                    || (site.isEmpty() && !origin.isEmpty() && !(hosted && isOwn(origin)))
                    || !(hosted || LOCAL.matcher(host).matches())) {
                throw new HttpFailure(403, "without a token forkd answers no other site's pages");
            }
        }

        private boolean isOwn(String origin) {
            return origin.equalsIgnoreCase(
                    (request.isSecure() ? "https://" : "http://") + header(request, HttpHeader.HOST));
        }

        private Response health() {
            return Set.of("GET", "HEAD").contains(request.getMethod())
                    ? Response.json(200, JsonNodeFactory.instance.objectNode().put("ok", true))
                    : notAllowed("GET, HEAD");
        }

        private Response notAllowed(String allowed) {
            return Response.error(405, request.getMethod() + " is not for " + path + ", which takes " + allowed)
                    .withHeader("Allow", allowed);
        }

        private void admit(Match.Found found, Caller caller) {
            if (stopping) {
                throw new HttpFailure(503, "the daemon is stopping");
            }
            requireRole(caller, found.route());
            if (found.route().body() == Routes.Takes.JSON && !isJson(header(request, HttpHeader.CONTENT_TYPE))) {
                throw new HttpFailure(415, "the body must be JSON, and say so: Content-Type: application/json");
            }
            if (!pool.admit(caller.owner())) {
                throw new HttpFailure(503, "too many calls are under way; try again");
            }
            if (isStreamed(found.route())) {
                run(found, caller, new byte[0]);
            } else {
                new Reading(found, caller).run();
            }
        }

        private void requireRole(Caller caller, Routes.Route route) {
            boolean allowed = switch (caller.role()) {
                case ADMIN -> true;
                case USER -> route.handler().isForUsers();
                case READ -> route.method().equals("GET") && route.handler().isForReaders();
            };
            if (!allowed) {
                throw new HttpFailure(
                        403,
                        route.method() + " " + route.template() + " is not for " + caller.name() + ", whose role is "
                                + caller.role().name().toLowerCase(Locale.ROOT));
            }
        }

        /** Whether there is a body for its handler to read. */
        private boolean isStreamed(Routes.Route route) {
            return route.body() == Routes.Takes.STREAM
                    && (request.getHeaders().contains(HttpHeader.TRANSFER_ENCODING)
                            || request.getHeaders().getLongField(HttpHeader.CONTENT_LENGTH) > 0);
        }

        private void run(Match.Found found, Caller caller, byte[] body) {
            Optional<RequestInput> reading =
                    isStreamed(found.route()) ? Optional.of(new RequestInput(request, this::watch)) : Optional.empty();
            HttpCall running = new HttpCall(
                    request.getMethod(),
                    path,
                    found.parameters(),
                    Optional.ofNullable(request.getHttpURI().getQuery()).orElse(""),
                    caller,
                    remote(request),
                    request.isSecure(),
                    request.getHeaders().stream()
                            .map(field -> new Header(field.getName(), Objects.toString(field.getValue(), "")))
                            .toList(),
                    body,
                    reading.<InputStream>map(stream -> stream).orElseGet(InputStream::nullInputStream));
            call = running;
            input = reading;
            endIfRefused(); // The tokens may have changed since it was let in.
            if (reading.isEmpty()) {
                watch();
            }
            pool.run(() -> {
                Response answer = answer(() -> found.route().handler().handle(running));
                pool.leave(caller.owner());
                bodyBytes.addAndGet(-body.length);
                return () -> send(answer);
            });
        }

        /** From when the whole request has been read. */
        private void watch() {
            HttpCall running = call;
            if (running != null
                    && request.getConnectionMetaData().getConnection() instanceof ClientConnection connection) {
                connection.watch(running::cancel);
            }
        }

        private Response answer(java.util.concurrent.Callable<Response> job) {
            try {
                return job.call();
            } catch (Throwable failure) {
                return answer(failure);
            }
        }

        /** Of whatever was thrown. */
        private Response answer(Throwable failure) {
            if (failure instanceof HttpFailure http) {
                Response answer = dialect.error(http);
                return http.status() == 503 ? answer.withHeader("Retry-After", "1") : answer;
            }
            if (failure instanceof ForkdException known) {
                return answer(failures.apply(known));
            }
            String id = HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextInt());
            Diagnostics.log().error("fault {} in {} {}", id, request.getMethod(), path, failure);
            return dialect.error(new HttpFailure(500, "a fault of the daemon; its log has it under " + id));
        }

        /** Unless its caller is let in by the token that it came with as who it was. */
        void endIfRefused() {
            HttpCall running = call;
            if (running == null || running.caller().means() != Caller.Means.TOKEN || isLetIn(running)) {
                return;
            }
            cancel();
            tunnel.ifPresent(TunnelConnection::close);
        }

        private boolean isLetIn(HttpCall running) {
            try {
                Caller now = tokens.orElseThrow()
                        .check(dialect.authorization(running::header).orElse(""));
                return now.name().equals(running.caller().name())
                        && now.role() == running.caller().role();
            } catch (HttpFailure e) {
                return false;
            }
        }

        void cancel() {
            HttpCall running = call;
            if (running != null) {
                running.cancel();
            }
        }

        private void send(Response answer) {
            if (answer.content() instanceof Content.Later later) {
                Response made = answer(later.job()::run);
                try {
                    send(made);
                } finally {
                    answer.close();
                }
                return;
            }
            if (answer.content() instanceof Content.Bytes && leaveInput()) {
                new Reading(answer).run(); // What is left of it is thrown away.
                return;
            }
            try {
                write(answer);
            } catch (Throwable failure) {
                // Half an answer cannot be taken back: the connection is closed, so that it is not taken for a whole.
                if (response.isCommitted()) {
                    Diagnostics.log().debug("the answer to {} {} was cut", request.getMethod(), path, failure);
                    end();
                    callback.failed(failure);
                } else {
                    response.getHeaders().clear();
                    send(answer(failure));
                }
            }
        }

        /** Its handler reads no more of the body. Whether some is left. */
        private boolean leaveInput() {
            Optional<RequestInput> left = input.filter(stream -> !stream.isEnded());
            left.ifPresent(stream -> {
                stream.close();
                input = Optional.empty();
            });
            return left.isPresent();
        }

        /** Bytes, from now on, in both directions. */
        private void upgrade(Response answer, Response.Tunnel tunnel) {
            if (!(request.getConnectionMetaData().getConnection() instanceof ClientConnection connection)) {
                throw new HttpFailure(500, "this connection cannot be used for another protocol");
            }
            handedOver.add(this);
            TunnelConnection made = new TunnelConnection(
                    connection, request.getComponents().getExecutor(), pool.threads(), new Response.Tunnel() {
                        @Override
                        public void carry(ByteChannel client) throws IOException {
                            tunnel.carry(client);
                        }

                        @Override
                        public void close() {
                            handedOver.remove(Exchange.this);
                            tunnel.close();
                        }
                    });
            this.tunnel = Optional.of(made);
            request.setAttribute(HttpStream.UPGRADE_CONNECTION_ATTRIBUTE, made);
            end();
            response.write(true, null, new Callback.Nested(callback) {
                @Override
                public void failed(Throwable failure) {
                    handedOver.remove(Exchange.this);
                    answer.close();
                    super.failed(failure);
                }
            });
        }

        private void write(Response answer) throws IOException {
            response.setStatus(answer.status());
            answer.headers().forEach(header -> response.getHeaders().add(header.name(), header.value()));
            if (answer.content() instanceof Content.Stream stream) {
                StreamOutput out = new StreamOutput(org.eclipse.jetty.io.Content.Sink.asOutputStream(response));
                try {
                    if (!request.getMethod().equals("HEAD")) {
                        stream.writer().write(out);
                    }
                } finally {
                    answer.close();
                }
                unread = leaveInput() && !request.getHeaders().contains(HttpHeader.EXPECT);
                end();
                response.write(true, out.rest(), afterwards());
                return;
            }
            if (answer.content() instanceof Content.Upgrade upgrade) {
                upgrade(answer, upgrade.tunnel());
                return;
            }
            if (answer.content() instanceof Content.InPieces pieces) {
                end();
                new Sending(pieces.pieces()).iterate();
                return;
            }
            int length = answer.bytes().length;
            int counted = length > SHORT ? length : 0;
            if (answerBytes.addAndGet(counted) > limits.allAnswerBytes() && counted > 0) {
                answerBytes.addAndGet(-counted);
                throw new HttpFailure(503, "the answers that clients have not read are too long together; try again");
            }
            if (answer.status() != 204) {
                response.getHeaders().put(HttpHeader.CONTENT_LENGTH, length);
            }
            end();
            response.write(
                    true,
                    ByteBuffer.wrap(answer.bytes()),
                    Callback.from(afterwards(), () -> answerBytes.addAndGet(-counted)));
        }

        /** What is told that the answer is out. To be asked for before it goes. */
        private Callback afterwards() {
            if (!unread) {
                return callback;
            }
            if (!response.isCommitted()) {
                response.getHeaders().put(HttpHeader.CONNECTION, "close");
            }
            return new Lingering();
        }

        /**
         * Reads on and throws away what comes. A connection that is closed with something unread is reset, and a client
         * that hears that while it sends may not look for the answer any more.
         */
        private final class Lingering implements Callback, Invocable.Task {
            private final long end = System.nanoTime() + LINGER.toNanos();
            private boolean over;
            private Scheduler.@Nullable Task deadline;
            private long length;

            @Override
            public InvocationType getInvocationType() {
                return InvocationType.NON_BLOCKING;
            }

            @Override
            public synchronized void succeeded() {
                deadline = request.getComponents()
                        .getScheduler()
                        .schedule(this::finish, LINGER.toNanos(), TimeUnit.NANOSECONDS);
                run();
            }

            @Override
            public void failed(Throwable failure) {
                callback.failed(failure);
            }

            @Override
            public synchronized void run() {
                for (int turn = 0; !over; ) {
                    org.eclipse.jetty.io.Content.Chunk chunk = request.read();
                    if (chunk == null) {
                        request.demand(this);
                        return;
                    }
                    turn += chunk.remaining();
                    length += chunk.remaining();
                    boolean last = chunk.isLast() || org.eclipse.jetty.io.Content.Chunk.isFailure(chunk);
                    chunk.release();
                    if (last || length > LINGER_BYTES || System.nanoTime() - end > 0) {
                        finish();
                    } else if (turn > LINGER_TURN) {
                        request.getComponents().getExecutor().execute(this);
                        return;
                    }
                }
            }

            private synchronized void finish() {
                if (!over) {
                    over = true;
                    if (deadline != null) {
                        deadline.cancel();
                    }
                    callback.succeeded();
                }
            }
        }

        /** Sends one piece after the other. */
        private final class Sending extends IteratingCallback {
            private final Response.Pieces pieces;
            private boolean last;

            Sending(Response.Pieces pieces) {
                this.pieces = pieces;
            }

            @Override
            protected Action process() {
                if (last) {
                    return Action.SUCCEEDED;
                }
                byte[] piece = pieces.next();
                last = !pieces.hasNext();
                response.write(last, ByteBuffer.wrap(piece), this);
                return Action.SCHEDULED;
            }

            @Override
            protected void onCompleteSuccess() {
                pieces.close();
                callback.succeeded();
            }

            @Override
            protected void onCompleteFailure(Throwable failure) {
                pieces.close();
                callback.failed(failure);
            }
        }

        /** From now on it makes no difference whether the client is there. Before Jetty may read the next request. */
        private void end() {
            HttpCall ended = call;
            if (ended != null) {
                ended.end();
            }
            if (request.getConnectionMetaData().getConnection() instanceof ClientConnection connection) {
                connection.unwatch();
            }
        }

        /**
         * Reads the body. Also when the answer is known before it and the body is thrown away: a client that is still
         * sending when its connection is closed never sees the answer.
         */
        private final class Reading implements Invocable.Task {
            private final Match.@Nullable Found found;
            private final Caller caller;
            private boolean over;
            private boolean whole;
            private final ByteArrayOutputStream body = new ByteArrayOutputStream();
            private @Nullable Response answer;
            private Scheduler.@Nullable Task deadline;
            private long length;

            /** For a handler. */
            Reading(Match.Found found, Caller caller) {
                this.found = found;
                this.caller = caller;
            }

            /** For an answer that needs no body. */
            Reading(Response answer) {
                this.found = null;
                this.caller = Caller.NOBODY;
                this.answer = answer;
            }

            @Override
            public InvocationType getInvocationType() {
                return InvocationType.NON_BLOCKING;
            }

            @Override
            public synchronized void run() {
                if (request.getLength() > limits.bodyBytes()) {
                    refuse(tooLong());
                }
                if (answer != null && request.getHeaders().contains(HttpHeader.EXPECT)) {
                    whole = true; // The client waits for leave to send it, which it does not get.
                    finish();
                    return;
                }
                while (!over) {
                    org.eclipse.jetty.io.Content.Chunk chunk = request.read();
                    if (chunk == null) {
                        await();
                        return;
                    }
                    if (org.eclipse.jetty.io.Content.Chunk.isFailure(chunk)) {
                        refuse(
                                chunk.getFailure() instanceof TimeoutException
                                        ? slow()
                                        : new HttpFailure(400, "the body is cut off or wrongly encoded"));
                        whole = true;
                        finish();
                        return;
                    }
                    take(chunk);
                    chunk.release();
                    whole = chunk.isLast();
                    if (whole || length > (long) PATIENCE * limits.bodyBytes()) {
                        finish();
                        return;
                    }
                }
            }

            private void await() {
                if (deadline == null) {
                    deadline = request.getComponents()
                            .getScheduler()
                            .schedule(this::expire, limits.bodyTime().toNanos(), TimeUnit.NANOSECONDS);
                }
                request.demand(this);
            }

            private void take(org.eclipse.jetty.io.Content.Chunk chunk) {
                int bytes = chunk.remaining();
                length += bytes;
                if (length > limits.bodyBytes()) {
                    refuse(tooLong());
                }
                if (answer == null && bodyBytes.get() + bytes > limits.allBodyBytes()) {
                    refuse(new HttpFailure(503, "the bodies of all calls are too long together; try again"));
                }
                if (answer == null) {
                    byte[] copy = new byte[bytes];
                    chunk.getByteBuffer().get(copy);
                    body.writeBytes(copy);
                    bodyBytes.addAndGet(bytes);
                }
            }

            private HttpFailure tooLong() {
                return new HttpFailure(413, "the body is longer than " + limits.bodyBytes() + " bytes");
            }

            private HttpFailure slow() {
                return new HttpFailure(408, "the body did not come in time");
            }

            /** What is known first stays the answer. */
            private void refuse(HttpFailure failure) {
                if (answer == null) {
                    answer = Exchange.this.answer(failure);
                }
            }

            private synchronized void expire() {
                if (!over) {
                    refuse(slow());
                    finish();
                }
            }

            private void finish() {
                over = true;
                if (deadline != null) {
                    deadline.cancel();
                }
                Response known = answer;
                if (found == null || known != null) {
                    bodyBytes.addAndGet(-body.size());
                    unread = !whole;
                    if (found != null) {
                        pool.leave(caller.owner());
                    }
                    send(known == null ? Response.empty(204) : known);
                } else {
                    Exchange.this.run(found, caller, body.toByteArray());
                }
            }
        }
    }

    private static boolean isJson(String contentType) {
        String type = contentType.split(";", 2)[0].strip().toLowerCase(Locale.ROOT);
        return type.equals("application/json") || (type.startsWith("application/") && type.endsWith("+json"));
    }
}
