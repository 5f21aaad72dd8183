package io.forkd.pack;

import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * The header of a file in a tar archive, of the plain kind that packs have: a name of up to 100 characters, and a size.
 * Everything else that tar knows (links, devices, long names, attributes, holes) is refused, and so has no parser.
 */
record TarHeader(String name, long bytes) {
    static final int BLOCK = 512;

    private static final int NAME = 100;
    private static final int SIZE = 124;
    private static final int SIZE_LENGTH = 12;
    private static final int CHECKSUM = 148;
    private static final int CHECKSUM_LENGTH = 8;
    private static final int TYPE = 156;
    private static final int MAGIC = 257;
    private static final int PREFIX = 345;

    private static final Map<Character, String> KINDS = Map.ofEntries(
            Map.entry('1', "a hard link"),
            Map.entry('2', "a symbolic link"),
            Map.entry('3', "a character device"),
            Map.entry('4', "a block device"),
            Map.entry('5', "a directory"),
            Map.entry('6', "a FIFO"),
            Map.entry('7', "a contiguous file"),
            Map.entry('g', "a global PAX header"),
            Map.entry('x', "a PAX header"),
            Map.entry('L', "a long name"),
            Map.entry('K', "a long name of a link"),
            Map.entry('M', "a part of a file"),
            Map.entry('V', "a label of a volume"),
            Map.entry('D', "a list of a directory"),
            Map.entry('S', "a file with holes"));

    /** Of a block that is not all zeroes. */
    static TarHeader parse(byte[] block, Refusal refusal) {
        long sum = 0;
        for (int i = 0; i < BLOCK; i++) {
            sum += (i >= CHECKSUM && i < CHECKSUM + CHECKSUM_LENGTH) ? ' ' : Byte.toUnsignedInt(block[i]);
        }
        if (octal(block, CHECKSUM, CHECKSUM_LENGTH) != sum
                || !new String(block, MAGIC, 5, StandardCharsets.ISO_8859_1).equals("ustar")) {
            throw refusal.of("it is no tar archive, or a damaged one");
        }
        String name = text(block, 0, NAME);
        char type = (char) Byte.toUnsignedInt(block[TYPE]);
        if (type != '0' && type != 0) {
            throw refusal.of("it has " + KINDS.getOrDefault(type, "an entry of an unknown kind") + ", "
                    + Refusal.quoted(name) + ", and a pack has nothing but files");
        }
        boolean posix = block[MAGIC + 5] == 0; // GNU's has other things where POSIX's has the rest of the name.
        if (name.isEmpty() || (posix && block[PREFIX] != 0)) {
            throw refusal.of("it has a name that is " + (name.isEmpty() ? "empty" : "longer than 100 characters"));
        }
        long bytes = size(block);
        if (bytes < 0) {
            throw refusal.of("it has " + Refusal.quoted(name) + ", whose size is no number");
        }
        return new TarHeader(name, bytes);
    }

    private static String text(byte[] block, int from, int length) {
        int end = from;
        while (end < from + length && block[end] != 0) {
            end++;
        }
        return new String(block, from, end - from, StandardCharsets.ISO_8859_1);
    }

    private static long size(byte[] block) {
        if (block[SIZE] != (byte) 0x80) {
            return octal(block, SIZE, SIZE_LENGTH);
        }
        long value = 0; // GNU's way for 8 GiB and more
        for (int i = SIZE + 1; i < SIZE + SIZE_LENGTH; i++) {
            if ((value >> 55) != 0) {
                return -1;
            }
            value = (value << 8) | Byte.toUnsignedInt(block[i]);
        }
        return value;
    }

    /** Digits up to a space or a zero byte; -1 when it is none. */
    private static long octal(byte[] block, int from, int length) {
        long value = 0;
        int at = from;
        while (at < from + length && block[at] == ' ') {
            at++;
        }
        int first = at;
        for (; at < from + length && block[at] != 0 && block[at] != ' '; at++) {
            if (block[at] < '0' || block[at] > '7') {
                return -1;
            }
            value = (value << 3) | (block[at] - '0');
        }
        return at == first ? -1 : value;
    }
}
