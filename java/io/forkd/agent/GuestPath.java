package io.forkd.agent;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.regex.Pattern;
import tools.jackson.databind.node.ObjectNode;

/**
 * A path or a name in a guest: bytes, which are UTF-8 as a rule.
 *
 * <p>{@code of} does not say whether it is any good: that is for the guest, which refuses a path that is not absolute.
 */
public final class GuestPath {
    private static final Pattern SLASH = Pattern.compile("/", Pattern.LITERAL);

    private final byte[] bytes;

    private GuestPath(byte[] bytes) {
        this.bytes = bytes;
    }

    public static GuestPath of(String text) {
        return new GuestPath(text.getBytes(StandardCharsets.UTF_8));
    }

    public static GuestPath of(byte[] bytes) {
        return new GuestPath(bytes.clone());
    }

    public byte[] bytes() {
        return bytes.clone();
    }

    /** As text, with U+FFFD for what is none. */
    public String text() {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    public boolean isUtf8() {
        return Arrays.equals(text().getBytes(StandardCharsets.UTF_8), bytes);
    }

    /** The path of what is called so in this directory. */
    public GuestPath resolve(GuestPath name) {
        boolean slash = bytes.length > 0 && bytes[bytes.length - 1] == '/';
        byte[] joined = Arrays.copyOf(bytes, bytes.length + (slash ? 0 : 1) + name.bytes.length);
        if (!slash) {
            joined[bytes.length] = '/';
        }
        System.arraycopy(name.bytes, 0, joined, joined.length - name.bytes.length, name.bytes.length);
        return new GuestPath(joined);
    }

    public GuestPath resolve(String name) {
        return resolve(of(name));
    }

    /** Without slashes at its end; the root keeps its one. */
    public GuestPath trimmed() {
        int end = bytes.length;
        while (end > 1 && bytes[end - 1] == '/') {
            end--;
        }
        return new GuestPath(Arrays.copyOf(bytes, end));
    }

    /** What is behind the last slash. */
    public GuestPath name() {
        int start = bytes.length;
        while (start > 0 && bytes[start - 1] != '/') {
            start--;
        }
        return new GuestPath(Arrays.copyOfRange(bytes, start, bytes.length));
    }

    /**
     * The names that lead from {@code root} to here, none of which is empty, {@code .} or {@code ..}.
     *
     * @throws IllegalArgumentException when it is not below it, or not by such names
     */
    public List<GuestPath> below(GuestPath root) {
        // A character for each byte, so that no byte is lost.
        String from = new String(root.trimmed().bytes, StandardCharsets.ISO_8859_1);
        String prefix = from.endsWith("/") ? from : from + "/";
        String text = new String(bytes, StandardCharsets.ISO_8859_1);
        if (!text.startsWith(prefix) || text.indexOf('\0') >= 0) {
            throw new IllegalArgumentException("not below");
        }
        List<String> names =
                SLASH.splitAsStream(text.substring(prefix.length())).toList();
        if (text.endsWith("/") || names.stream().anyMatch(name -> name.matches("|\\.|\\.\\."))) {
            throw new IllegalArgumentException("not a name");
        }
        return names.stream()
                .map(name -> new GuestPath(name.getBytes(StandardCharsets.ISO_8859_1)))
                .toList();
    }

    /** Writes it as a request has it. */
    void put(ObjectNode request, String field) {
        request.put(field, text());
        if (!isUtf8()) {
            request.put(field + "_base64", Base64.getEncoder().encodeToString(bytes));
        }
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof GuestPath path && Arrays.equals(bytes, path.bytes);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(bytes);
    }

    @Override
    public String toString() {
        return GuestAnswer.printable(text());
    }
}
