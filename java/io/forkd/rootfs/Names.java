package io.forkd.rootfs;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * Names in a file system are bytes. They are kept as strings with one character for each byte, so that names of any
 * encoding come through unchanged.
 */
final class Names {
    private Names() {}

    static String of(byte[] bytes) {
        return new String(bytes, StandardCharsets.ISO_8859_1);
    }

    static byte[] bytes(String name) {
        return name.getBytes(StandardCharsets.ISO_8859_1);
    }

    /** A name of our own. */
    static String ofText(String text) {
        return of(text.getBytes(StandardCharsets.UTF_8));
    }

    /** For people; what could upset a terminal is left out. */
    static String text(String name) {
        return new String(bytes(name), StandardCharsets.UTF_8).replaceAll("\\p{Cc}", "?");
    }

    /** The components of a path, without empty ones and without {@code .}. */
    static List<String> components(String path) {
        List<String> parts = new ArrayList<>();
        for (int start = 0; start < path.length(); ) {
            int slash = path.indexOf('/', start);
            int end = slash < 0 ? path.length() : slash;
            if (end > start && !(end == start + 1 && path.charAt(start) == '.')) {
                parts.add(path.substring(start, end));
            }
            start = end + 1;
        }
        return parts;
    }
}
