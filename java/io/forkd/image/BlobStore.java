package io.forkd.image;

import static java.nio.file.StandardOpenOption.APPEND;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Bytes under the names that they hash to, {@code blobs/sha256/<hex>}: shared by all images, never changed, and only
 * ever complete; a crash of the host alone may damage them, which whoever reads them finds out. What is being fetched
 * lies in an owned directory beside, which the next start removes if its process dies. Beside, in {@code blobs/tags},
 * is what tags led to. All of it is its owner's alone: whoever may not read a registry may not read it here.
 */
public final class BlobStore {
    private static final int ATTEMPTS = 5;
    private static final int BUFFER = 256 << 10;
    private static final String STAGING = ".pulling-";
    private static final String TAGS = "tags";

    private final Path root;

    public BlobStore(Path cache) {
        this.root = cache.resolve("blobs");
    }

    /** Where bytes come from, beginning at any of them. */
    @FunctionalInterface
    interface Source {
        InputStream from(long offset) throws IOException;
    }

    private Path path(Digest digest) {
        return root.resolve(digest.algorithm()).resolve(digest.hex());
    }

    boolean has(Descriptor blob) {
        try {
            long size = Files.size(path(blob.digest()));
            if (size != blob.size() && !isWhole(blob.digest())) {
                forget(blob.digest()); // a crash of the host cut it short
                return false;
            }
            if (size != blob.size()) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        "the blob " + blob.digest() + " has " + size + " bytes, and a manifest says that it has "
                                + blob.size());
            }
            return true;
        } catch (NoSuchFileException e) {
            return false;
        } catch (IOException e) {
            throw ForkdException.of("read " + path(blob.digest()), e);
        }
    }

    private boolean isWhole(Digest digest) throws IOException {
        MessageDigest hasher = digest.hasher();
        try (InputStream in = new DigestInputStream(open(digest), hasher)) {
            in.transferTo(OutputStream.nullOutputStream());
        }
        return digest.matches(hasher);
    }

    InputStream open(Digest digest) throws IOException {
        return Files.newInputStream(path(digest));
    }

    /** A small blob, if it is here undamaged. */
    Optional<byte[]> read(Digest digest) {
        try {
            if (Files.size(path(digest)) > Documents.MAX_BYTES) {
                throw Documents.tooLarge(digest.toString()); // Of a layer, which is named as what it is not.
            }
            byte[] bytes = Files.readAllBytes(path(digest));
            if (digest.matches(bytes)) {
                return Optional.of(bytes);
            }
            forget(digest);
            return Optional.empty();
        } catch (NoSuchFileException e) {
            return Optional.empty();
        } catch (IOException e) {
            throw ForkdException.of("read " + path(digest), e);
        }
    }

    /** Removes a blob that turned out to be damaged, so that it is fetched anew. */
    void forget(Digest digest) {
        try {
            Files.deleteIfExists(path(digest));
        } catch (IOException e) {
            throw ForkdException.of("remove " + path(digest), e);
        }
    }

    void add(Digest digest, byte[] bytes) {
        if (!digest.matches(bytes)) {
            throw new ForkdException(Kind.DAMAGED, "these bytes do not hash to " + digest);
        }
        if (!Files.isRegularFile(path(digest))) {
            write(path(digest), bytes);
        }
    }

    private void write(Path target, byte[] bytes) {
        try {
            Trees.makePrivate(root);
            Files.createDirectories(Optional.ofNullable(target.getParent()).orElse(root));
            try (OwnedDirectory staging = OwnedDirectory.create(root, STAGING)) {
                Path file = Files.createFile(staging.path().resolve("blob"), Trees.PRIVATE_FILE);
                Files.write(file, bytes);
                Files.move(file, target, StandardCopyOption.ATOMIC_MOVE);
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + target, e);
        }
    }

    private Path tagFile(String reference) {
        return root.resolve(TAGS)
                .resolve(Digest.sha256(reference.getBytes(StandardCharsets.UTF_8))
                        .hex());
    }

    /** Remembers which manifest a tag led to. */
    void tag(String reference, Digest manifest) {
        write(tagFile(reference), manifest.toString().getBytes(StandardCharsets.UTF_8));
    }

    /** What the tag led to the last time. */
    Optional<Digest> tagged(String reference) {
        try {
            return Optional.of(Digest.parse(Files.readString(tagFile(reference))));
        } catch (NoSuchFileException e) {
            return Optional.empty();
        } catch (IOException e) {
            throw ForkdException.of("read " + tagFile(reference), e);
        } catch (ForkdException e) {
            return Optional.empty(); // a crash of the host damaged it
        }
    }

    /** For when the blobs go. */
    public void forgetTags() throws IOException {
        Trees.delete(root.resolve(TAGS));
    }

    /** Fetches a blob unless it is there. A connection that breaks is taken up again where it broke. */
    void fetch(Descriptor blob, Source source, String what, Work work) {
        Digest digest = blob.digest();
        try {
            prepare(digest);
            Path lock = root.resolve(digest.hex() + ".lock");
            try (FileLock mine = FileLock.exclusive(lock, what, work)) {
                try {
                    fetchAlone(blob, source, what, work);
                } finally {
                    Files.deleteIfExists(lock); // While it is held: later, it would be the next one's.
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + path(digest), e);
        }
    }

    private void fetchAlone(Descriptor blob, Source source, String what, Work work) throws IOException {
        if (has(blob)) {
            work.advance(blob.size());
            return;
        }
        OwnedDirectory.sweep(root, STAGING);
        try (OwnedDirectory staging = OwnedDirectory.create(root, STAGING)) {
            Path file = staging.path().resolve("blob");
            download(blob, source, file, what, work);
            install(file, blob.digest());
        }
    }

    private void prepare(Digest digest) throws IOException {
        Trees.makePrivate(root);
        Files.createDirectories(root.resolve(digest.algorithm()));
    }

    /** Not synced: what a crash of the host damages is found when it is read, and fetched anew. */
    private void install(Path file, Digest digest) throws IOException {
        Files.move(file, path(digest), StandardCopyOption.ATOMIC_MOVE);
    }

    private static void download(Descriptor blob, Source source, Path file, String what, Work work) throws IOException {
        MessageDigest hasher = blob.digest().hasher();
        long done = 0;
        byte[] buffer = new byte[BUFFER];
        Files.createFile(file, Trees.PRIVATE_FILE);
        try (OutputStream out = Files.newOutputStream(file, APPEND)) {
            for (int attempt = 1; done < blob.size() || attempt == 1; attempt++) {
                long before = done;
                try (InputStream in = source.from(done)) {
                    while (true) {
                        int got;
                        try {
                            got = in.read(buffer);
                        } catch (IOException e) {
                            throw new Broken(ForkdException.reason(e));
                        }
                        if (got < 0) {
                            break;
                        }
                        work.check();
                        done += got;
                        if (done > blob.size()) {
                            throw new ForkdException(
                                    Kind.DAMAGED,
                                    what + " is longer than its manifest says (" + blob.size() + " bytes)");
                        }
                        hasher.update(buffer, 0, got);
                        out.write(buffer, 0, got);
                        work.advance(got);
                    }
                    if (done < blob.size()) {
                        throw new Broken("it ended after " + done + " of " + blob.size() + " bytes");
                    }
                } catch (Broken | ForkdException e) {
                    if (e instanceof ForkdException known && (done == 0 || known.kind() != Kind.FAILED)) {
                        throw known;
                    }
                    attempt = done > before ? 1 : attempt;
                    if (attempt >= ATTEMPTS) {
                        throw new ForkdException(
                                Kind.FAILED,
                                "cannot pull " + what + ": the connection breaks again and again: " + e.getMessage());
                    }
                    work.check();
                    work.pause(100L << attempt);
                }
            }
        }
        if (!blob.digest().matches(hasher)) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    what + " was sent with other content than its digest " + blob.digest() + " says",
                    "The registry, or something between it and this machine, is broken or lies.");
        }
    }

    /** The other side went away in the middle. */
    private static final class Broken extends IOException {
        private static final long serialVersionUID = 1;

        Broken(String why) {
            super(why);
        }
    }

    /** What all of it takes, where the least that a file takes is a block. */
    public long bytes(long block) {
        try {
            long blobs = list().stream()
                    .mapToLong(blob -> Math.max(block, blob.bytes()))
                    .sum();
            return blobs + block * Trees.list(root.resolve(TAGS)).size();
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    /** A blob of the store. */
    public record Stored(Digest digest, Path file, long bytes) {}

    public List<Stored> list() {
        List<Stored> found = new ArrayList<>();
        try {
            for (String algorithm : List.of("sha256", "sha512")) {
                for (Path file : Trees.list(root.resolve(algorithm))) {
                    found.add(
                            new Stored(new Digest(algorithm, file.getFileName().toString()), file, Files.size(file)));
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
        return found;
    }
}
