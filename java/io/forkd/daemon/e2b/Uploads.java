package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Archives that clients send for COPY. Nobody looks into them here: guests take them apart. They are kept until this daemon
 * ends, so that they are sent once; when there are too many, those go that were not used for longest. A name is what a
 * client says, and no hash of an archive: each user has its own. Any thread may use this.
 */
final class Uploads implements AutoCloseable {
    private static final String PREFIX = "uploads-";
    private static final long MOST_OF_ONE = 4L << 30;
    private static final long MOST_TOGETHER = 16L << 30;
    private static final int MOST_FILES_OF_ONE = 1000;
    private static final int CHUNK = 64 << 10;

    /** Of the addresses that are given out. */
    private static final Duration GOOD = Duration.ofHours(1);

    private static final String HMAC = "HmacSHA256";
    private static final int MAGIC_FIRST = 0x1f;
    private static final int MAGIC_SECOND = 0x8b;

    private record Name(Optional<String> owner, String hash) {}

    private record Kept(Path file, long bytes) {}

    private final Path parent;
    private final Bodies bodies;
    private final byte[] secret = new byte[32];
    private Optional<OwnedDirectory> directory = Optional.empty();

    /** Those that were not used for longest come first; guarded by this, as all below. */
    private final Map<Name, Kept> kept = new LinkedHashMap<>(16, 0.75f, true);

    /** What each has, and is about to have. */
    private final Map<Optional<String>, Long> bytes = new LinkedHashMap<>();

    private long count;

    /** Removes what those have left that were killed. */
    Uploads(Path parent, Bodies bodies) {
        this.parent = parent;
        this.bodies = bodies;
        new SecureRandom().nextBytes(secret);
        try {
            if (Files.isDirectory(parent)) {
                OwnedDirectory.sweep(parent, PREFIX);
            }
        } catch (IOException e) {
            throw ForkdException.of("remove what is left in " + parent, e);
        }
    }

    private synchronized Path newFile(String name) throws IOException {
        if (directory.isEmpty()) {
            Trees.makePrivate(parent);
            directory = Optional.of(OwnedDirectory.create(parent, PREFIX));
        }
        return directory.get().path().resolve(name + "-" + ++count);
    }

    // --- addresses ---

    /** Where that file can be sent to, by whoever has the address. */
    String address(HttpCall http, String template, Optional<String> owner, String hash) {
        long end = Instant.now().plus(GOOD).getEpochSecond();
        String host = http.header("Host").orElse("localhost");
        return (http.isSecure() ? "https://" : "http://") + host + "/templates/" + encode(template) + "/files/" + hash
                + "?owner=" + encode(owner.orElse("")) + "&expires=" + end + "&signature="
                + signature(owner, hash, end);
    }

    private static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8).replace("+", "%20");
    }

    private String signature(Optional<String> owner, String hash, long end) {
        try {
            Mac mac = Mac.getInstance(HMAC);
            mac.init(new SecretKeySpec(secret, HMAC));
            return HexFormat.of()
                    .formatHex(
                            mac.doFinal((hash + " " + end + " " + owner.orElse("")).getBytes(StandardCharsets.UTF_8)));
        } catch (GeneralSecurityException e) {
            throw new AssertionError("every Java has it", e);
        }
    }

    /** Takes what is sent to such an address. */
    Response receive(HttpCall http) {
        Optional<String> owner = http.query("owner").filter(name -> !name.isEmpty());
        long end = http.queryNumber("expires", 0, Long.MAX_VALUE / 2).orElse(0);
        String hash = http.parameter("hash");
        if (end < Instant.now().getEpochSecond()
                || !Signature.same(http.query("signature").orElse(""), signature(owner, hash, end))) {
            throw new HttpFailure(403, "this address is not good, or not any more; ask for another");
        }
        http.setAccount(owner);
        return bodies.read(http, body -> {
            try {
                put(new Name(owner, hash), body.stream());
                return Response.empty(200);
            } catch (HttpFailure e) {
                return ControlDialect.INSTANCE.error(e);
            }
        });
    }

    // --- files ---

    synchronized boolean has(Optional<String> owner, String hash) {
        return kept.get(new Name(owner, hash)) != null;
    }

    /** An archive, as it was sent, and whether that was compressed. */
    record Archive(InputStream bytes, boolean compressed) implements AutoCloseable {
        @Override
        public void close() throws IOException {
            bytes.close();
        }
    }

    /** Whatever becomes of it from then on it can be read; empty when it was never sent, or is gone. */
    Optional<Archive> open(Optional<String> owner, String hash) throws IOException {
        InputStream file;
        synchronized (this) {
            Kept found = kept.get(new Name(owner, hash));
            if (found == null) {
                return Optional.empty();
            }
            file = new BufferedInputStream(Files.newInputStream(found.file()), CHUNK);
        }
        file.mark(2);
        boolean compressed = file.read() == MAGIC_FIRST && file.read() == MAGIC_SECOND;
        file.reset();
        return Optional.of(new Archive(file, compressed));
    }

    private void put(Name name, InputStream body) {
        long length = 0;
        try {
            Path file = newFile(name.hash());
            try (OutputStream out = Files.newOutputStream(Files.createFile(file, Trees.PRIVATE_FILE))) {
                byte[] chunk = new byte[CHUNK];
                for (int read = read(body, chunk); read >= 0; read = read(body, chunk)) {
                    reserve(name.owner(), read);
                    length += read;
                    out.write(chunk, 0, read);
                }
            } catch (RuntimeException | IOException e) {
                Files.deleteIfExists(file);
                throw e;
            }
            keep(name, new Kept(file, length));
        } catch (IOException e) {
            giveBack(name.owner(), length);
            throw new HttpFailure(507, "there is no room for it: " + ForkdException.reason(e));
        } catch (RuntimeException e) {
            giveBack(name.owner(), length);
            throw e;
        }
    }

    private static int read(InputStream body, byte[] chunk) {
        try {
            return body.read(chunk);
        } catch (IOException e) {
            throw new HttpFailure(400, "the body was cut off");
        }
    }

    private synchronized void keep(Name name, Kept file) throws IOException {
        Kept old = kept.put(name, file);
        if (old != null) {
            remove(name.owner(), old);
        }
        while (kept.keySet().stream()
                        .filter(each -> each.owner().equals(name.owner()))
                        .count()
                > MOST_FILES_OF_ONE) {
            forgetOldest(name.owner());
        }
    }

    /** What somebody has goes for what is new, and nothing of others. */
    private synchronized void reserve(Optional<String> owner, long more) throws IOException {
        while (bytes.getOrDefault(owner, 0L) + more > MOST_OF_ONE || all() + more > MOST_TOGETHER) {
            if (!forgetOldest(owner)) {
                throw new HttpFailure(507, "archives for COPY are too long together");
            }
        }
        bytes.merge(owner, more, Long::sum);
    }

    private long all() {
        return bytes.values().stream().mapToLong(Long::longValue).sum();
    }

    private boolean forgetOldest(Optional<String> owner) throws IOException {
        Iterator<Map.Entry<Name, Kept>> each = kept.entrySet().iterator();
        while (each.hasNext()) {
            Map.Entry<Name, Kept> oldest = each.next();
            if (oldest.getKey().owner().equals(owner)) {
                each.remove();
                remove(owner, oldest.getValue());
                return true;
            }
        }
        return false;
    }

    private void remove(Optional<String> owner, Kept file) throws IOException {
        Files.deleteIfExists(file.file());
        giveBack(owner, file.bytes());
    }

    private synchronized void giveBack(Optional<String> owner, long length) {
        bytes.computeIfPresent(owner, (same, has) -> has <= length ? null : has - length);
    }

    // --- credentials ---

    /** A file with a login for one registry, as docker keeps it, for as long as it is open. */
    static final class Logins implements AutoCloseable {
        private final Path file;

        private Logins(Path file) {
            this.file = file;
        }

        Path file() {
            return file;
        }

        @Override
        public void close() {
            try {
                Files.deleteIfExists(file);
            } catch (IOException e) {
                throw ForkdException.of("remove " + file, e);
            }
        }
    }

    /** @param content of the file */
    Logins logins(byte[] content) {
        try {
            Path file = newFile("login");
            Files.write(Files.createFile(file, Trees.PRIVATE_FILE), content);
            return new Logins(file);
        } catch (IOException e) {
            throw ForkdException.of("write a file of credentials in " + parent, e);
        }
    }

    @Override
    public synchronized void close() {
        directory.ifPresent(OwnedDirectory::close);
        directory = Optional.empty();
        kept.clear();
        bytes.clear();
    }
}
