package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Map;
import java.util.function.LongConsumer;
import java.util.regex.Pattern;

/** What bytes have to hash to, such as {@code sha256:9f86d0...}. */
public record Digest(String algorithm, String hex) {
    private static final Map<String, String> JAVA_NAMES = Map.of("sha256", "SHA-256", "sha512", "SHA-512");
    private static final Map<String, Integer> LENGTHS = Map.of("sha256", 64, "sha512", 128);
    private static final Pattern HEX = Pattern.compile("[0-9a-f]+");

    public Digest {
        Integer length = LENGTHS.get(algorithm);
        if (length == null || hex.length() != length || !HEX.matcher(hex).matches()) {
            throw new ForkdException(
                    Kind.USAGE,
                    "not a digest: " + algorithm + ":" + hex,
                    "A digest is sha256: with 64, or sha512: with 128 digits 0-9a-f.");
        }
    }

    public static Digest parse(String text) {
        int colon = text.indexOf(':');
        return colon < 0 ? new Digest("", text) : new Digest(text.substring(0, colon), text.substring(colon + 1));
    }

    public static Digest sha256(byte[] bytes) {
        return new Digest("sha256", HexFormat.of().formatHex(hasher("sha256").digest(bytes)));
    }

    /**
     * The SHA-256 of a file.
     *
     * @param read hears of bytes that were read, and may end it
     */
    public static Digest ofFile(Path file, LongConsumer read) {
        MessageDigest hasher = hasher("sha256");
        ByteBuffer buffer = ByteBuffer.allocate(1 << 20);
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            while (channel.read(buffer) >= 0) {
                read.accept(buffer.position());
                hasher.update(buffer.flip());
                buffer.clear();
            }
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
        return new Digest("sha256", HexFormat.of().formatHex(hasher.digest()));
    }

    static MessageDigest hasher(String algorithm) {
        try {
            return MessageDigest.getInstance(JAVA_NAMES.getOrDefault(algorithm, algorithm));
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-2", e);
        }
    }

    public MessageDigest hasher() {
        return hasher(algorithm);
    }

    /** Whether these are the bytes that were meant. */
    public boolean matches(byte[] bytes) {
        return matches(hasher().digest(bytes), hex);
    }

    /** Whether a hasher that has seen all bytes agrees; it starts anew then. */
    public boolean matches(MessageDigest hasher) {
        return matches(hasher.digest(), hex);
    }

    private static boolean matches(byte[] hash, String hex) {
        return HexFormat.of().formatHex(hash).equals(hex);
    }

    /** Enough of it for people. */
    public String brief() {
        return algorithm + ":" + hex.substring(0, 12);
    }

    @Override
    public String toString() {
        return algorithm + ":" + hex;
    }
}
