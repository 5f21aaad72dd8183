package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;

/** The name of a snapshot: {@code [A-Za-z0-9_-][A-Za-z0-9._-]{0,63}}, so that it can never leave the store's folder. */
public record SnapshotTag(String value) implements Comparable<SnapshotTag> {
    private static final int MAX_LENGTH = 64;

    public SnapshotTag {
        if (value.isEmpty()) {
            throw wrong(value, "it is empty");
        }
        if (value.length() > MAX_LENGTH) {
            throw wrong(value.substring(0, 16) + "...", "it has " + value.length() + " characters, 64 are allowed");
        }
        if (!isWord(value.charAt(0)) && value.charAt(0) != '-') {
            throw wrong(value, "it must begin with a letter, a digit, _ or -");
        }
        for (int i = 1; i < value.length(); i++) {
            char c = value.charAt(i);
            if (!isWord(c) && c != '.' && c != '-') {
                throw wrong(value, "'" + printable(c) + "' is not allowed (letters, digits, . _ - are)");
            }
        }
    }

    private static boolean isWord(char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    }

    private static String printable(char c) {
        return c < ' ' || c > '~' ? String.format("\\u%04x", (int) c) : String.valueOf(c);
    }

    private static ForkdException wrong(String value, String why) {
        return new ForkdException(Kind.USAGE, "'" + value + "' is not a tag: " + why);
    }

    @Override
    public int compareTo(SnapshotTag other) {
        return value.compareTo(other.value);
    }

    @Override
    public String toString() {
        return value;
    }
}
