package io.forkd.daemon.e2b;

import io.forkd.agent.FileOptions;
import io.forkd.agent.GuestEntry;
import io.forkd.agent.GuestFileReader;
import io.forkd.agent.GuestFileWriter;
import io.forkd.agent.GuestPath;
import io.forkd.daemon.Guests.Open;
import io.forkd.http.Header;
import io.forkd.http.Response;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Supplier;
import java.util.zip.GZIPInputStream;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;

/** {@code /files}: files of a sandbox as bodies, whatever their size. */
final class FilesRoute {
    private static final int CHUNK = 64 << 10;

    /** Of one call. */
    private static final int MOST_FILES = 4096;

    private final Bodies bodies;

    FilesRoute(Bodies bodies) {
        this.bodies = bodies;
    }

    /** By plain HTTP. */
    static Response answered(Supplier<Response> answer) {
        try {
            return answer.get();
        } catch (RuntimeException e) {
            return refused(ConnectFailure.of(e));
        }
    }

    static Response refused(ConnectFailure failure) {
        return Response.json(failure.status(), failure.plain());
    }

    Response answer(EnvdCall call) {
        return answered(() -> switch (call.http().method()) {
            case "GET", "HEAD" -> read(call);
            case "POST" -> write(call);
            default -> refusedMethod(call.http().method());
        });
    }

    static Response refusedMethod(String method) {
        return Response.json(
                405,
                JsonNodeFactory.instance
                        .objectNode()
                        .put("code", 405)
                        .put("message", method + " is not for this path"));
    }

    // --- read ---

    private static Response read(EnvdCall call) {
        String asked = call.http().query("path").orElse("");
        Open<GuestFileReader> open = call.open(guest -> {
            Account account = call.account(guest);
            return guest.files(account.user()).read(account.path(call.base(account), asked), 0, OptionalLong.empty());
        });
        List<Header> headers = new ArrayList<>(List.of(
                new Header("Content-Type", "application/octet-stream"),
                // It is a guest's, and no page of the daemon's.
                new Header("X-Content-Type-Options", "nosniff")));
        // A file of a file system that tells no sizes, as /proc, has bytes all the same.
        long size = open.stream().entry().size();
        if (size > 0) {
            headers.add(new Header("Content-Length", Long.toString(size)));
        }
        return Response.stream(200, headers, new Response.Writer() {
            @Override
            public void write(OutputStream out) throws IOException {
                copy(open.stream(), size > 0 ? size : Long.MAX_VALUE, out);
            }

            @Override
            public void close() {
                open.close();
            }
        });
    }

    /** As much as was announced: what is written to the file meanwhile is not part of it. */
    private static void copy(GuestFileReader file, long size, OutputStream out) throws IOException {
        byte[] chunk = new byte[CHUNK];
        long left = size;
        while (left > 0) {
            int count = file.read(ByteBuffer.wrap(chunk, 0, (int) Math.min(chunk.length, left)));
            if (count < 0 && size < Long.MAX_VALUE) {
                throw new IOException("the file has become shorter while it was read");
            }
            if (count < 0) {
                return;
            }
            out.write(chunk, 0, count);
            left -= count;
        }
    }

    // --- write ---

    private Response write(EnvdCall call) {
        if (call.http().headers().stream()
                .anyMatch(header -> header.name().toLowerCase(Locale.ROOT).startsWith("x-metadata-"))) {
            throw new ConnectFailure(Code.UNIMPLEMENTED, "files of this sandbox have no metadata");
        }
        Optional<String> path = call.http().query("path").filter(text -> !text.isEmpty());
        String type = call.http().header("Content-Type").orElse("");
        String kind = type.split(";", 2)[0].strip().toLowerCase(Locale.ROOT);
        if (!kind.equals(Multipart.TYPE) && !kind.equals("application/octet-stream")) {
            throw ConnectFailure.invalid(
                    "the body must be " + Multipart.TYPE + " or application/octet-stream, and is '" + kind + "'");
        }
        return bodies.read(
                call.http(),
                body -> answered(() -> {
                    ArrayNode written = JsonNodeFactory.instance.arrayNode();
                    try (InputStream in = decoded(call, body.stream())) {
                        if (kind.equals(Multipart.TYPE)) {
                            writeParts(call, path, Multipart.of(in, type), written);
                        } else {
                            add(written, writeFile(call, path.orElseThrow(FilesRoute::noPath), in::read));
                        }
                    } catch (IOException e) {
                        throw ConnectFailure.invalid("the body cannot be read: " + e.getMessage());
                    }
                    return Response.json(200, written);
                }));
    }

    private static InputStream decoded(EnvdCall call, InputStream body) throws IOException {
        String encoding =
                call.http().header("Content-Encoding").orElse("identity").toLowerCase(Locale.ROOT);
        return switch (encoding) {
            case "identity" -> body;
            case "gzip" -> new GZIPInputStream(body, CHUNK);
            default -> throw ConnectFailure.invalid("the body must be as it is, or gzip, and is " + encoding);
        };
    }

    private static ConnectFailure noPath() {
        return ConnectFailure.invalid("it is not said which file is written: path is missing");
    }

    private static void writeParts(EnvdCall call, Optional<String> path, Multipart body, ArrayNode written)
            throws IOException {
        for (Optional<Multipart.Part> part = body.next(); part.isPresent(); part = body.next()) {
            if (!part.get().name().equals("file")) {
                continue;
            }
            if (written.size() == (path.isPresent() ? 1 : MOST_FILES)) {
                throw ConnectFailure.invalid("there are more files than " + written.size());
            }
            String name = path.or(part.get()::fileName)
                    .filter(text -> !text.isEmpty())
                    .orElseThrow(FilesRoute::noPath);
            add(written, writeFile(call, name, body::read));
        }
    }

    /** What a file is written from. */
    private interface Source {
        /** Negative at its end. */
        int read(byte[] into) throws IOException;
    }

    /** With directories that are missing; there is what was before until all of it has come. */
    private static GuestEntry writeFile(EnvdCall call, String asked, Source source) throws IOException {
        Open<GuestFileWriter> open = call.open(guest -> {
            Account account = call.account(guest);
            GuestPath path = account.path(call.base(account), asked);
            return account.make(
                    guest,
                    Account.parent(path),
                    again -> guest.files(account.user()).write(path, FileOptions.DEFAULT.withParents()));
        });
        byte[] chunk = new byte[CHUNK];
        try (open) {
            for (int count = source.read(chunk); count >= 0; count = source.read(chunk)) {
                open.stream().write(ByteBuffer.wrap(chunk, 0, count));
            }
            return open.stream().finish();
        } catch (RuntimeException e) {
            throw EnvdCall.failure(open, e);
        }
    }

    private static void add(ArrayNode written, GuestEntry entry) {
        written.addObject()
                .put("path", entry.path().text())
                .put("name", entry.name().text())
                .put("type", "file");
    }
}
