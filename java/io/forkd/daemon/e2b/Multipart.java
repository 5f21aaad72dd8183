package io.forkd.daemon.e2b;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** A body of {@code multipart/form-data} (RFC 7578), part by part as it comes. */
final class Multipart {
    static final String TYPE = "multipart/form-data";

    /** RFC 2046, section 5.1.1. */
    private static final int MOST_BOUNDARY = 70;

    private static final int MOST_HEADER = 16 << 10;
    private static final int BUFFER = 64 << 10;

    /** What a part says of itself. */
    record Part(String name, Optional<String> fileName) {}

    private final InputStream in;
    private final byte[] delimiter;
    private final byte[] buffer = new byte[BUFFER];
    private int start;
    private int end;
    private boolean inPart = true; // at first, in what comes before all parts

    private Multipart(InputStream in, String boundary) {
        this.in = in;
        this.delimiter = ("\r\n--" + boundary).getBytes(StandardCharsets.ISO_8859_1);
        // The first delimiter may have no line before it.
        buffer[0] = '\r';
        buffer[1] = '\n';
        end = 2;
    }

    static Multipart of(InputStream in, String contentType) {
        String boundary = parameters(contentType).getOrDefault("boundary", "");
        if (boundary.isEmpty() || boundary.length() > MOST_BOUNDARY) {
            throw ConnectFailure.invalid(
                    "the body's Content-Type must have a boundary of 1 to " + MOST_BOUNDARY + " characters");
        }
        return new Multipart(in, boundary);
    }

    /** The next part; empty when there are no more. What was not read of the one before is passed over. */
    Optional<Part> next() throws IOException {
        byte[] waste = new byte[8192];
        while (read(waste) >= 0) {
            // Up to its end.
        }
        while (end - start < 2) {
            fill();
        }
        if (buffer[start] == '-' && buffer[start + 1] == '-') {
            return Optional.empty();
        }
        line(); // what is left of the delimiter's
        Map<String, String> disposition = Map.of();
        int length = 0;
        for (String line = line(); !line.isEmpty(); line = line()) {
            length += line.length();
            if (length > MOST_HEADER) {
                throw tooLong();
            }
            if (line.toLowerCase(Locale.ROOT).startsWith("content-disposition:")) {
                disposition = parameters(line);
            }
        }
        inPart = true;
        return Optional.of(new Part(
                disposition.getOrDefault("name", ""),
                Optional.ofNullable(disposition.get("filename")).map(Multipart::decoded)));
    }

    /** Some of the part; negative at its end. */
    int read(byte[] into) throws IOException {
        while (inPart) {
            int found = find();
            if (found == start) {
                start += delimiter.length;
                inPart = false;
                break;
            }
            int limit = found > 0 ? found : end - delimiter.length + 1;
            if (limit > start) {
                int count = Math.min(into.length, limit - start);
                System.arraycopy(buffer, start, into, 0, count);
                start += count;
                return count;
            }
            fill();
        }
        return -1;
    }

    /** Where the next delimiter begins in the buffer; negative when it is not there. */
    private int find() {
        for (int at = start; at + delimiter.length <= end; at++) {
            if (buffer[at] == '\r'
                    && Arrays.equals(buffer, at, at + delimiter.length, delimiter, 0, delimiter.length)) {
                return at;
            }
        }
        return -1;
    }

    private void fill() throws IOException {
        System.arraycopy(buffer, start, buffer, 0, end - start);
        end -= start;
        start = 0;
        int count = in.read(buffer, end, buffer.length - end);
        if (count < 0) {
            throw new IOException("the body ends before its last part does");
        }
        end += count;
    }

    /** The next one, without its end. */
    private String line() throws IOException {
        for (int length = 0; length <= MOST_HEADER; length++) {
            while (end - start < length + 2) {
                fill();
            }
            if (buffer[start + length] == '\r' && buffer[start + length + 1] == '\n') {
                String line = new String(buffer, start, length, StandardCharsets.UTF_8);
                start += length + 2;
                return line;
            }
        }
        throw tooLong();
    }

    private static ConnectFailure tooLong() {
        return ConnectFailure.invalid("the head of a part is longer than " + MOST_HEADER + " bytes");
    }

    /** Those of a field of a head, by their names in small letters. */
    private static Map<String, String> parameters(String field) {
        Map<String, String> parameters = new HashMap<>();
        for (int at = field.indexOf(';') + 1; at > 0 && at < field.length(); ) {
            int equals = field.indexOf('=', at);
            if (equals < 0) {
                break;
            }
            String name = field.substring(at, equals).strip().toLowerCase(Locale.ROOT);
            StringBuilder value = new StringBuilder();
            at = equals + 1;
            boolean quoted = at < field.length() && field.charAt(at) == '"';
            if (quoted) {
                for (at++; at < field.length() && field.charAt(at) != '"'; at++) {
                    // Behind a backslash, as MIME has it; others are themselves, as browsers mean them.
                    if (field.startsWith("\\\"", at) || field.startsWith("\\\\", at)) {
                        at++;
                    }
                    value.append(field.charAt(at));
                }
            }
            int next = field.indexOf(';', at);
            if (!quoted) {
                value.append(
                        field.substring(at, next < 0 ? field.length() : next).strip());
            }
            parameters.put(name, value.toString());
            at = next + 1;
        }
        return parameters;
    }

    /** As browsers write what a quoted name cannot have. */
    private static String decoded(String name) {
        return name.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
    }
}
