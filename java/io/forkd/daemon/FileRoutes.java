package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.agent.FileOptions;
import io.forkd.agent.GuestChange;
import io.forkd.agent.GuestEntry;
import io.forkd.agent.GuestEvents;
import io.forkd.agent.GuestFileReader;
import io.forkd.agent.GuestFileWriter;
import io.forkd.agent.GuestFiles;
import io.forkd.agent.GuestPath;
import io.forkd.agent.GuestStreams;
import io.forkd.daemon.Guests.Open;
import io.forkd.http.Body;
import io.forkd.http.Header;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.sandbox.Found.Known;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import tools.jackson.databind.node.ObjectNode;

/** Files of guests: read and written as they come, whatever their size. */
final class FileRoutes {
    private static final int CHUNK = 64 << 10;
    private static final int MOST_DEPTH = 64;
    private static final long MOST_ID = 0xffff_ffffL;
    private static final long MOST_MODE = 07777;

    /** A part of a file, as of RFC 9110 one may be asked for. Others that it has are answered with the whole. */
    private static final Pattern RANGE = Pattern.compile("bytes=([0-9]{1,18})?-([0-9]{1,18})?");

    private final Guests guests;

    FileRoutes(Guests guests) {
        this.guests = guests;
    }

    void addTo(Routes routes) {
        String files = "/v1/sandboxes/:id/files";
        routes.get(files, forUsers(this::read));
        routes.putStream(files, forUsers(this::write));
        routes.delete(files, forUsers(this::remove));
        routes.get(files + "/list", forUsers(this::list));
        routes.get(files + "/stat", forUsers(this::stat));
        routes.get(files + "/watch", forUsers(this::watch));
        routes.postJson(files + "/mkdir", forUsers(this::makeDirectory));
        routes.postJson(files + "/move", forUsers(this::move));
    }

    // --- what is asked for ---

    private static GuestPath path(HttpCall http) {
        return path("path", http::query);
    }

    /** Its bytes, where they are given, otherwise its text. */
    private static GuestPath path(String name, Function<String, Optional<String>> values) {
        Optional<String> bytes = values.apply(name + "_base64");
        try {
            return bytes.map(each -> GuestPath.of(Base64.getDecoder().decode(each)))
                    .or(() -> values.apply(name).map(GuestPath::of))
                    .orElseThrow(() -> new HttpFailure(400, "it is not said which file: " + name + " is missing"));
        } catch (IllegalArgumentException e) {
            throw new HttpFailure(400, name + "_base64 must be base64: " + e.getMessage());
        }
    }

    private static GuestFiles files(GuestStreams guest, Optional<String> user) {
        return user.map(guest::files).orElseGet(guest::files);
    }

    private static FileOptions options(HttpCall http) {
        return options(
                http.query("mode").map(FileRoutes::mode),
                http.queryFlag("parents"),
                http.queryNumber("uid", 0, MOST_ID),
                http.queryNumber("gid", 0, MOST_ID),
                http.queryNumber("mtime_ms", Long.MIN_VALUE, Long.MAX_VALUE));
    }

    private static FileOptions options(
            Optional<Integer> mode, boolean parents, OptionalLong uid, OptionalLong gid, OptionalLong time) {
        return new FileOptions(
                mode.map(OptionalInt::of).orElseGet(OptionalInt::empty),
                parents,
                uid,
                gid,
                time.isPresent() ? Optional.of(Instant.ofEpochMilli(time.getAsLong())) : Optional.empty());
    }

    /** As chmod takes it. */
    private static int mode(String octal) {
        if (!octal.matches("[0-7]{1,5}") || Integer.parseInt(octal, 8) > MOST_MODE) {
            throw new HttpFailure(400, "mode must be octal, at most 7777, and is " + octal);
        }
        return Integer.parseInt(octal, 8);
    }

    // --- what is answered ---

    private static ObjectNode entry(GuestEntry entry) {
        ObjectNode node = Wire.object();
        put(node, "name", entry.name());
        put(node, "path", entry.path());
        node.put("type", entry.type().text())
                .put("size", entry.size())
                .put("mode", String.format("%04o", entry.mode()))
                .put("uid", entry.uid())
                .put("gid", entry.gid())
                .put("mtime_ms", entry.modified().toEpochMilli());
        entry.user().ifPresent(user -> node.put("user", user));
        entry.group().ifPresent(group -> node.put("group", group));
        entry.target().ifPresent(target -> put(node, "target", target));
        entry.error().ifPresent(error -> node.put("error", error));
        return node;
    }

    private static void put(ObjectNode node, String field, GuestPath path) {
        node.put(field, path.text());
        if (!path.isUtf8()) {
            node.put(field + "_base64", Base64.getEncoder().encodeToString(path.bytes()));
        }
    }

    private static ObjectNode change(GuestChange change) {
        if (change instanceof GuestChange.At at) {
            ObjectNode node = Wire.object().put("change", at.what().text());
            put(node, "path", at.path());
            at.to().ifPresent(to -> put(node, "to", to));
            return node;
        }
        return Wire.object().put("change", "lost");
    }

    // --- the routes ---

    private Response stat(HttpCall http) {
        GuestPath path = path(http);
        boolean follow = http.query("follow").isEmpty() || http.queryFlag("follow");
        Optional<String> user = http.query("user");
        return Response.json(
                200,
                entry(guests.ask(
                        http, guests.sandbox(http), guest -> files(guest, user).stat(path, follow))));
    }

    private Response remove(HttpCall http) {
        GuestPath path = path(http);
        boolean recursive = http.queryFlag("recursive");
        Optional<String> user = http.query("user");
        guests.ask(http, guests.sandbox(http), guest -> {
            files(guest, user).remove(path, recursive);
            return true;
        });
        return Response.empty(204);
    }

    private Response makeDirectory(HttpCall http) {
        Body body = http.body();
        GuestPath path = path("path", body::optionalText);
        FileOptions options = options(
                body.optionalText("mode").map(FileRoutes::mode),
                body.flag("parents", false),
                body.optionalNumber("uid", 0, MOST_ID),
                body.optionalNumber("gid", 0, MOST_ID),
                body.optionalNumber("mtime_ms", Long.MIN_VALUE, Long.MAX_VALUE));
        Optional<String> user = body.optionalText("user");
        boolean created = guests.ask(
                http, guests.sandbox(http), guest -> files(guest, user).makeDirectory(path, options));
        return Response.json(created ? 201 : 200, Wire.object().put("created", created));
    }

    private Response move(HttpCall http) {
        Body body = http.body();
        GuestPath from = path("from", body::optionalText);
        GuestPath to = path("to", body::optionalText);
        Optional<String> user = body.optionalText("user");
        guests.ask(http, guests.sandbox(http), guest -> {
            files(guest, user).move(from, to);
            return true;
        });
        return Response.empty(204);
    }

    private Response list(HttpCall http) {
        GuestPath path = path(http);
        int depth = (int) http.queryNumber("depth", 1, MOST_DEPTH).orElse(1);
        Optional<String> user = http.query("user");
        return lines(
                guests.open(
                        http, guests.sandbox(http), guest -> files(guest, user).list(path, depth)),
                FileRoutes::entry,
                false);
    }

    private Response watch(HttpCall http) {
        GuestPath path = path(http);
        boolean recursive = http.queryFlag("recursive");
        Optional<String> user = http.query("user");
        return lines(
                guests.open(
                        http, guests.sandbox(http), guest -> files(guest, user).watch(path, recursive)),
                FileRoutes::change,
                true);
    }

    /** One for each, as it comes. What goes wrong then cuts the answer off, so that it is not taken for a whole. */
    private static <T> Response lines(Open<GuestEvents<T>> open, Function<T, ObjectNode> line, boolean endless) {
        return Response.stream(200, Wire.LINES, new Response.Writer() {
            @Override
            public void write(OutputStream out) throws IOException {
                if (endless) {
                    out.flush(); // That it has begun: the first may be long in coming.
                }
                try {
                    for (Optional<T> next = open.stream().next();
                            next.isPresent();
                            next = open.stream().next()) {
                        Wire.line(out, line.apply(next.get()));
                    }
                } catch (ForkdException e) {
                    throw open.failure(e);
                }
            }

            @Override
            public void close() {
                open.close();
            }
        });
    }

    /** What part of a file is sent. */
    private record Part(long offset, OptionalLong length) {}

    private Response read(HttpCall http) {
        GuestPath path = path(http);
        Optional<String> user = http.query("user");
        Known sandbox = guests.sandbox(http);
        Optional<Matcher> range = http.header("Range")
                .map(RANGE::matcher)
                .filter(Matcher::matches)
                .filter(part -> part.group(1) != null || part.group(2) != null);
        List<Header> headers = new ArrayList<>(List.of(
                new Header("Content-Type", "application/octet-stream"),
                // It is a guest's, and no page of the daemon's.
                new Header("X-Content-Type-Options", "nosniff"),
                new Header("Accept-Ranges", "bytes")));
        Part part = new Part(0, OptionalLong.empty());
        if (range.isPresent()) {
            long size = guests.ask(http, sandbox, guest -> files(guest, user).stat(path, true))
                    .size();
            part = part(range.get(), size);
            long last = part.offset() + part.length().getAsLong() - 1;
            headers.add(new Header("Content-Range", "bytes " + part.offset() + "-" + last + "/" + size));
        }
        Part wanted = part;
        Open<GuestFileReader> open =
                guests.open(http, sandbox, guest -> files(guest, user).read(path, wanted.offset(), wanted.length()));
        // A file of a file system that tells no sizes, as /proc, has bytes all the same.
        long size = open.stream().entry().size();
        OptionalLong length = range.isPresent() || size == 0 ? part.length() : OptionalLong.of(size);
        length.ifPresent(bytes -> headers.add(new Header("Content-Length", Long.toString(bytes))));
        return Response.stream(range.isPresent() ? 206 : 200, headers, new Response.Writer() {
            @Override
            public void write(OutputStream out) throws IOException {
                copy(open, length, out);
            }

            @Override
            public void close() {
                open.close();
            }
        });
    }

    private static Part part(Matcher range, long size) {
        String first = range.group(1);
        String second = range.group(2);
        long offset = first == null ? Math.max(0, size - Long.parseLong(second)) : Long.parseLong(first);
        long end = first == null || second == null ? size : Math.min(size, Long.parseLong(second) + 1);
        if (offset >= end) {
            throw new HttpFailure(416, "there is no such part of a file of " + size + " bytes: " + range.group());
        }
        return new Part(offset, OptionalLong.of(end - offset));
    }

    /** As much as was announced: what is written to the file meanwhile is not part of it. */
    private static void copy(Open<GuestFileReader> open, OptionalLong length, OutputStream out) throws IOException {
        byte[] chunk = new byte[CHUNK];
        long left = length.orElse(Long.MAX_VALUE);
        try {
            while (left > 0) {
                int count = open.stream().read(ByteBuffer.wrap(chunk, 0, (int) Math.min(chunk.length, left)));
                if (count < 0) {
                    if (length.isPresent()) {
                        throw new HttpFailure(502, "the file has become shorter while it was read");
                    }
                    return;
                }
                out.write(chunk, 0, count);
                left -= count;
            }
        } catch (ForkdException e) {
            throw open.failure(e);
        }
    }

    private Response write(HttpCall http) {
        GuestPath path = path(http);
        FileOptions options = options(http);
        Optional<String> user = http.query("user");
        Known sandbox = guests.sandbox(http);
        Open<GuestFileWriter> open =
                guests.open(http, sandbox, guest -> files(guest, user).write(path, options));
        return Response.later(new Response.Job() {
            @Override
            public Response run() {
                try {
                    send(http.input(), open.stream());
                    return Response.json(200, entry(open.stream().finish()));
                } catch (ForkdException e) {
                    throw open.failure(e);
                }
            }

            @Override
            public void close() {
                open.close();
            }
        });
    }

    private static void send(InputStream body, GuestFileWriter file) {
        byte[] chunk = new byte[CHUNK];
        try {
            for (int count = body.read(chunk); count >= 0; count = body.read(chunk)) {
                file.write(ByteBuffer.wrap(chunk, 0, count));
            }
        } catch (IOException e) {
            throw new HttpFailure(400, e.getMessage() + "; the file is as it was");
        }
    }
}
