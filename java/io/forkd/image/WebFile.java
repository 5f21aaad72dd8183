package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * A file at an address. Who serves it may be anybody: it is got to a bound and no further, over TLS, and from nowhere that
 * is less secure than where it was asked for.
 */
public final class WebFile implements AutoCloseable {
    private static final Pattern CONTENT_RANGE = Pattern.compile("bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\\*)");
    private static final int BUFFER = 256 << 10;

    /** How often in a row it may break, with less than so many bytes more in between. */
    private static final int BREAKS = 5;

    private static final long PROGRESS = 1 << 20;

    private final URI address;
    private final Connections connections;
    private final Redirects redirects;
    private final Retries retries;
    private final Work work;

    /** How much of it there may be. */
    public interface Bound {
        /** When this is reached, or all is here if that is less, it is asked for what counts from there on. */
        long first();

        /**
         * The bytes of all of it, at most. May refuse it.
         *
         * @param begun what has come so far
         * @param length what the server says that it has
         */
        long most(Path begun, Optional<Long> length);
    }

    public WebFile(URI address, Reach reach, Map<String, String> environment, Work work) {
        boolean plain = address.getScheme().equals("http");
        if (plain && !reach.plain() && !Redirects.isLoopback(address)) {
            throw new ForkdException(
                    Kind.USAGE, shown(address) + " is not secure: it has no TLS", Remedy.Action.PLAIN_HTTP);
        }
        this.address = address;
        this.work = work;
        this.connections = new Connections(
                new Proxies(Redirects.isLoopback(address) ? Map.of() : environment), reach, environment, work);
        this.redirects = new Redirects(connections, to -> plain && (reach.plain() || Redirects.isLoopback(to)));
        this.retries = new Retries(address.getHost(), work);
    }

    /** An address as somebody gave it. */
    public static URI parse(String text) {
        URI address;
        try {
            address = URI.create(text);
        } catch (IllegalArgumentException e) {
            throw new ForkdException(Kind.USAGE, "not an address: " + text);
        }
        String scheme = Optional.ofNullable(address.getScheme()).orElse("");
        if (address.getHost() == null || !(scheme.equals("https") || scheme.equals("http"))) {
            throw new ForkdException(Kind.USAGE, "not an address of https:// or http://: " + text);
        }
        if (address.getRawUserInfo() != null) {
            throw new ForkdException(
                    Kind.USAGE,
                    "there is a user or a password in an address of " + address.getHost()
                            + ", where everybody on this machine can read them");
        }
        if (address.getRawPath().isEmpty() || address.getRawPath().endsWith("/")) {
            throw new ForkdException(Kind.USAGE, "an address of a folder, and not of a file: " + shown(address));
        }
        return address;
    }

    /** For people: what follows a question mark may be as good as a password. */
    public static String shown(URI address) {
        return address.getScheme() + "://" + address.getRawAuthority() + address.getRawPath();
    }

    /** The file of another name beside it. */
    public static URI sibling(URI address, String name) {
        return address.resolve(name);
    }

    /** Whether there is something. Who does not say that has nothing. */
    public boolean isThere() {
        try {
            return redirects
                    .follow("HEAD", address, Map.of(), Optional.empty(), Optional.empty())
                    .isGood();
        } catch (IOException e) {
            throw unreachable("look for ", e);
        }
    }

    /** What is there, if it is of so many bytes at most. */
    public byte[] read(int most) {
        Answer answer = ask("GET", Map.of(), Optional.empty(), "read ");
        try (InputStream in = answer.content()) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            byte[] buffer = new byte[BUFFER];
            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                work.check();
                bytes.write(buffer, 0, count);
                if (bytes.size() > most) {
                    throw new ForkdException(Kind.DAMAGED, shown(address) + " is larger than " + most + " bytes");
                }
            }
            return bytes.toByteArray();
        } catch (IOException e) {
            throw unreachable("read ", e);
        }
    }

    /** Gets it into a new file. Where the connection breaks it goes on from there, if the server can. */
    public void get(Path file, Bound bound) {
        try (FileChannel out = FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
            new Download(file, out, bound).run();
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }

    /** The other side went away in the middle. */
    private static final class Broken extends Exception {
        private static final long serialVersionUID = 1;

        Broken(String why) {
            super(why);
        }
    }

    private final class Download {
        private final Path file;
        private final FileChannel out;
        private final Bound bound;
        private long done;
        private Optional<String> version = Optional.empty();
        private Optional<Long> most = Optional.empty();
        private boolean begun;

        Download(Path file, FileChannel out, Bound bound) {
            this.file = file;
            this.out = out;
            this.bound = bound;
        }

        void run() throws IOException {
            long reached = 0;
            for (int breaks = 1; ; breaks++) {
                try {
                    attempt();
                    return;
                } catch (Broken e) {
                    if (done >= reached + PROGRESS) {
                        reached = done;
                        breaks = 1;
                    }
                    if (breaks == BREAKS) {
                        throw new ForkdException(
                                Kind.FAILED,
                                "cannot get " + shown(address) + ": the connection breaks again and again: "
                                        + e.getMessage());
                    }
                    work.pause(100L << breaks);
                }
            }
        }

        private void attempt() throws IOException, Broken {
            Map<String, String> headers = new HashMap<>();
            if (done > 0 && version.isPresent()) {
                headers.put("Range", "bytes=" + done + "-");
                headers.put("If-Range", version.get());
            }
            Answer answer = ask("GET", headers, Optional.empty(), "get ");
            long from = from(answer);
            if (from != done) {
                done = 0; // It is another one, or a server that begins where it likes.
                most = Optional.empty();
                out.truncate(0);
                if (from != 0) {
                    throw new Broken("it does not go on where it is asked to");
                }
            }
            version = answer.header("ETag").filter(tag -> tag.startsWith("\""));
            long left = answer.connection().getContentLengthLong();
            Optional<Long> length = left >= 0 ? Optional.of(done + left) : Optional.empty();
            if (!begun) {
                begun = true;
                work.begin("Getting " + shown(address), length.orElse(0L));
                work.advance(done);
            }
            try (InputStream in = answer.content()) {
                copy(in, length);
            }
        }

        /** Where what comes is to go. */
        private long from(Answer answer) {
            if (answer.status() != HttpURLConnection.HTTP_PARTIAL) {
                return 0;
            }
            var range = CONTENT_RANGE.matcher(answer.header("Content-Range").orElse(""));
            return range.matches() ? Long.parseLong(range.group(1)) : -1;
        }

        private void copy(InputStream in, Optional<Long> length) throws IOException, Broken {
            byte[] buffer = new byte[BUFFER];
            while (true) {
                int count;
                try {
                    count = in.read(buffer);
                } catch (IOException e) {
                    throw new Broken(ForkdException.reason(e));
                }
                work.check();
                if (count < 0) {
                    break;
                }
                for (ByteBuffer rest = ByteBuffer.wrap(buffer, 0, count); rest.hasRemaining(); ) {
                    done += out.write(rest, done);
                }
                if (most.isEmpty() && done >= bound.first()) {
                    most = Optional.of(bound.most(file, length));
                }
                requireBound(length);
                work.advance(count);
            }
            if (length.isPresent() && done < length.get()) {
                throw new Broken("it ended after " + done + " of " + length.get() + " bytes");
            }
            if (most.isEmpty()) {
                most = Optional.of(bound.most(file, length));
            }
            requireBound(length);
        }

        private void requireBound(Optional<Long> length) {
            if (most.isPresent() && Math.max(done, length.orElse(0L)) > most.get()) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        shown(address) + " has "
                                + length.map(bytes -> bytes + " bytes").orElse("no end")
                                + ", and what it says of itself takes " + most.get() + " at most");
            }
        }
    }

    /** Puts a file there, in the place of what there is. */
    public void put(Path file) {
        work.begin("Sending " + shown(address), sizeOf(file));
        ask(
                "PUT",
                Map.of(),
                Optional.of(new Redirects.Body() {
                    @Override
                    public long length() {
                        return sizeOf(file);
                    }

                    @Override
                    public void writeTo(OutputStream out) throws IOException {
                        byte[] buffer = new byte[BUFFER];
                        try (InputStream in = Files.newInputStream(file)) {
                            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                                work.check();
                                out.write(buffer, 0, count);
                                work.advance(count);
                            }
                        }
                    }
                }),
                "send it to ");
    }

    private static long sizeOf(Path file) {
        try {
            return Files.size(file);
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
    }

    private Answer ask(String method, Map<String, String> headers, Optional<Redirects.Body> body, String doing) {
        for (int attempt = 1; ; attempt++) {
            ForkdException why;
            Optional<Long> pause;
            try {
                Answer answer = redirects.follow(method, address, headers, body, Optional.empty());
                if (answer.isGood()) {
                    return answer;
                }
                why = refused(doing, answer);
                pause = Retries.pauseAfter(answer, attempt);
            } catch (IOException e) {
                why = unreachable(doing, e);
                pause = Retries.pauseAfter(ConnectionFault.of(e), attempt);
            }
            if (!retries.await(attempt, pause)) {
                throw why;
            }
        }
    }

    private ForkdException refused(String doing, Answer answer) {
        String cannot = "cannot " + doing + shown(address) + ": ";
        String status = " (HTTP " + answer.status() + ")";
        String who = answer.from().getAuthority();
        return switch (answer.status()) {
            case HttpURLConnection.HTTP_NOT_FOUND, HttpURLConnection.HTTP_GONE ->
                new ForkdException(Kind.NOT_FOUND, cannot + "there is nothing" + status, "Check the address.");
            case HttpURLConnection.HTTP_UNAUTHORIZED, HttpURLConnection.HTTP_FORBIDDEN ->
                new ForkdException(Kind.FAILED, cannot + who + " refuses access" + status);
            case HttpURLConnection.HTTP_BAD_METHOD ->
                new ForkdException(
                        Kind.FAILED,
                        cannot + who + " takes nothing" + status,
                        "Name an address of a server that files can be sent to.");
            case HttpURLConnection.HTTP_ENTITY_TOO_LARGE ->
                new ForkdException(
                        Kind.FAILED,
                        cannot + "it is larger than " + who + " takes" + status,
                        "Have its limit for what is sent to it raised.");
            default -> new ForkdException(Kind.FAILED, cannot + who + " failed" + status);
        };
    }

    private ForkdException unreachable(String doing, IOException e) {
        return RegistryErrors.unreachable(doing + shown(address), address.getAuthority(), e);
    }

    /** Ends what waits for it. */
    @Override
    public void close() {
        connections.close();
    }
}
