package io.forkd.http;

import static java.nio.file.StandardOpenOption.APPEND;
import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.WRITE;

import io.forkd.ForkdException;
import io.forkd.Json;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * A line for each request, handed to the kernel before the next one: what is there survives the daemon, and not the
 * machine. A line that cannot be written is lost, which is logged once; no request fails for it.
 */
final class AuditLog implements AutoCloseable {
    /** @param path without the query, which may hold secrets */
    record Entry(
            String method,
            String path,
            int status,
            long latencyMicros,
            String userAgent,
            Caller caller,
            String remote) {
        String line() {
            ObjectNode line = JsonNodeFactory.instance.objectNode();
            line.put("ts", Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
            line.put("method", method);
            line.put("path", path);
            line.put("status", status);
            line.put("latency_us", latencyMicros);
            line.put("ua", userAgent);
            line.put("caller", caller.text());
            line.put("remote", remote);
            return Json.text(line) + "\n";
        }
    }

    private final Path file;
    private FileChannel channel;
    private boolean failing;
    private boolean torn;

    AuditLog(Path file) {
        this.file = file;
        this.channel = open(file);
    }

    private static FileChannel open(Path file) {
        try {
            Path parent = file.toAbsolutePath().getParent();
            if (parent != null) {
                Files.createDirectories(parent);
            }
            return FileChannel.open(file, CREATE, WRITE, APPEND);
        } catch (IOException e) {
            throw ForkdException.of("open the audit log " + file, e);
        }
    }

    synchronized void append(Entry entry) {
        ByteBuffer line = ByteBuffer.wrap(((torn ? "\n" : "") + entry.line()).getBytes(StandardCharsets.UTF_8));
        try {
            while (line.hasRemaining()) {
                channel.write(line);
            }
            torn = false;
            failing = false;
        } catch (IOException e) {
            // What comes next must not continue half a line.
            torn |= line.position() > 0;
            if (!failing) {
                Diagnostics.log()
                        .error(
                                "{}",
                                ForkdException.of("write the audit log " + file, e)
                                        .sentence());
            }
            failing = true;
        }
    }

    /** Goes on in the file that has the name now, as after a rotation; in the old one when that fails. */
    synchronized void reopen() {
        FileChannel reopened = open(file);
        close();
        channel = reopened;
        torn = false;
    }

    @Override
    public synchronized void close() {
        try {
            channel.close();
        } catch (IOException e) {
            // Each line was written, or its loss logged.
        }
    }
}
