package io.forkd.rootfs;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/** What stands before a member, byte by byte: names and extended attributes, which are no text. */
record RawHeaders(Optional<String> path, Optional<String> link, Map<String, byte[]> xattrs) {
    private static final int RECORD = 512;
    private static final int SIZE_AT = 124;
    private static final int SIZE_LENGTH = 12;
    private static final int TYPE_AT = 156;
    private static final String XATTR = "SCHILY.xattr.";

    /** @param blocks everything from the end of the content of the member before to the content of this one */
    static RawHeaders parse(byte[] blocks, int length) {
        Optional<String> path = Optional.empty();
        Optional<String> link = Optional.empty();
        Map<String, byte[]> xattrs = Map.of();
        // The padding of the member before comes first; everything else is whole records.
        for (int at = length % RECORD; at + RECORD <= length; ) {
            int content = at + RECORD;
            long size = Math.min(size(blocks, at), length - content);
            int end = content + (int) size;
            switch (blocks[at + TYPE_AT]) {
                case 'x', 'X' -> {
                    Map<String, byte[]> values = values(blocks, content, end);
                    path = value(values, "GNU.sparse.name").or(() -> value(values, "path"));
                    link = value(values, "linkpath");
                    xattrs = xattrs(values);
                }
                case 'L' -> path = Optional.of(text(blocks, content, end));
                case 'K' -> link = Optional.of(text(blocks, content, end));
                case 'g' -> {
                    // For the whole archive; image tools put comments there.
                }
                default -> {
                    return new RawHeaders(path, link, xattrs);
                }
            }
            at = content + ((int) size + RECORD - 1) / RECORD * RECORD;
        }
        return new RawHeaders(path, link, xattrs);
    }

    private static Optional<String> value(Map<String, byte[]> values, String key) {
        return Optional.ofNullable(values.get(key)).map(Names::of);
    }

    private static Map<String, byte[]> xattrs(Map<String, byte[]> values) {
        Map<String, byte[]> found = new HashMap<>();
        values.forEach((key, value) -> {
            if (key.startsWith(XATTR)) {
                // There are few, and they may be at every file.
                found.put(key.substring(XATTR.length()).intern(), value);
            }
        });
        return Map.copyOf(found);
    }

    /** Octal digits, or a number in base 256 where the first bit is set. */
    private static long size(byte[] blocks, int header) {
        int start = header + SIZE_AT;
        boolean binary = (blocks[start] & 0x80) != 0;
        long size = binary ? blocks[start] & 0x3f : 0;
        for (int i = binary ? start + 1 : start; i < start + SIZE_LENGTH; i++) {
            byte digit = blocks[i];
            if (binary) {
                size = (size << 8) | (digit & 0xff);
            } else if (digit >= '0' && digit <= '7') {
                size = (size << 3) | (digit - '0');
            }
        }
        return size < 0 ? Long.MAX_VALUE : size;
    }

    private static String text(byte[] blocks, int start, int end) {
        int stop = start;
        while (stop < end && blocks[stop] != 0) {
            stop++;
        }
        return Names.of(Arrays.copyOfRange(blocks, start, stop));
    }

    /** Records of "LENGTH KEY=VALUE\n", where the length counts the whole record. */
    private static Map<String, byte[]> values(byte[] blocks, int start, int end) {
        Map<String, byte[]> values = new HashMap<>();
        for (int at = start; at < end; ) {
            int space = at;
            long length = 0;
            while (space < end && blocks[space] >= '0' && blocks[space] <= '9' && length < Integer.MAX_VALUE) {
                length = 10 * length + blocks[space++] - '0';
            }
            long next = at + length;
            if (space >= end || blocks[space] != ' ' || next > end || next <= space + 2) {
                break; // the tar reader has refused it already, or nothing comes any more
            }
            int equals = space + 1;
            while (equals < next && blocks[equals] != '=') {
                equals++;
            }
            if (equals < next) {
                values.put(
                        new String(blocks, space + 1, equals - space - 1, StandardCharsets.UTF_8),
                        Arrays.copyOfRange(blocks, equals + 1, (int) next - 1));
            }
            at = (int) next;
        }
        return values;
    }
}
