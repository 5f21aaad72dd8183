package io.forkd.rootfs;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.Remedy;
import io.forkd.files.FileLock;
import io.forkd.files.FileSize;
import io.forkd.files.Home;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Room;
import io.forkd.files.Trees;
import io.forkd.image.BlobStore;
import io.forkd.image.Digest;
import io.forkd.image.Image;
import io.forkd.image.ImageReference;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.Images;
import io.forkd.image.Layer;
import io.forkd.image.Platform;
import io.forkd.image.Reach;
import io.forkd.image.Work;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.function.Supplier;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Disk images that were built, by everything that went into them.
 *
 * <pre>
 * images/KEY.ext4, images/KEY.json   a disk image, and what it was made of; never changed once it has its name
 * images/disk-SHA-TIME.ext4          one that was made elsewhere, and came with a snapshot
 * SLUG.ext4                          a link to the one that was asked for last under that name
 * blobs/                             what was pulled, shared by all images
 * locks/                             held while something is built
 * .building-*                        what is being built; removed by the next start if its process died
 * .using-*                           somebody needs what is here, and it must not be pruned; {@code bytes} in it says how
 *                                    much he is about to add
 * </pre>
 *
 * All of it is its owner's alone: what comes from a private registry is not for everybody who has a login here.
 *
 * <p>Until it is closed, a cache is in use from its first image on.
 *
 * <p>A snapshot goes on using the disk image that it was made with, so nothing in {@code images/} is ever replaced.
 */
public final class RootfsCache implements AutoCloseable {
    private static final Path SYSTEM = Path.of("/var/cache/forkd");
    private static final String FORMAT = "forkd rootfs 1";
    private static final String STAGING = ".building-";
    private static final String USING = ".using-";
    private static final String BUILDING = ".forkd-building-";
    private static final String EXT4 = ".ext4";
    private static final String RESERVED = "bytes";

    /** In what is noted of an image: the digest by which the registry has what it was made of. */
    private static final String MANIFEST = "manifest";

    private static final String BUILDER = "builder";

    /** What the smallest file, or a name, is reckoned with. */
    private static final long BLOCK = 4096;

    /** What is pulled of an image before its size is known, usually. */
    private static final long DOCUMENTS = 1L << 20;

    /** How often room is made for an image that others take meanwhile. */
    private static final int ATTEMPTS = 3;

    private final Path directory;
    private final Path mkfs;
    private final Path mktree;
    private final Path guestBinary;
    private final Map<String, String> environment;
    private final Work work;
    private final Optional<Bound> bound;
    private Optional<OwnedDirectory> using = Optional.empty();

    /**
     * How large a cache may get.
     *
     * @param inUse finds the files that snapshots and sandboxes need, which stay when room is made
     */
    public record Bound(long bytes, Supplier<Set<Path>> inUse) {}

    /**
     * @param mkfs the program that writes ext4
     * @param mktree the program that makes a folder instead
     * @param guestBinary the init that goes into every image
     */
    public RootfsCache(
            Path directory,
            Path mkfs,
            Path mktree,
            Path guestBinary,
            Map<String, String> environment,
            Work work,
            Optional<Bound> bound) {
        this.directory = directory.toAbsolutePath().normalize();
        this.mkfs = mkfs;
        this.mktree = mktree;
        this.guestBinary = guestBinary;
        this.environment = environment;
        this.work = work;
        this.bound = bound;
    }

    /** {@code /var/cache/forkd} where that is ours or can be, else {@code forkd} in the user's own cache folder. */
    public static Path defaultDirectory(Map<String, String> environment) {
        try {
            if (Files.exists(SYSTEM) ? Trees.isOurs(SYSTEM) : Files.isWritable(SYSTEM.resolveSibling("."))) {
                return SYSTEM;
            }
        } catch (IOException e) {
            // It went in this moment.
        }
        String cache = environment.getOrDefault("XDG_CACHE_HOME", "");
        return (cache.isEmpty() ? Home.of(environment, "XDG_CACHE_HOME").resolve(".cache") : Path.of(cache))
                .resolve("forkd");
    }

    /** What to build. */
    public record Request(String reference, Platform platform, Reach reach, RootfsOptions options) {}

    /**
     * Finds the disk image, or builds it; whoever else wants the same one at the same time waits for it.
     *
     * @throws NoRoomException when the cache would get larger than it may
     */
    public Rootfs get(Request request) {
        ImageReference reference = ImageReference.parse(request.reference());
        for (int attempt = 1; ; attempt++) {
            Found found = find(request, reference);
            if (found instanceof Made made) {
                return made.rootfs();
            }
            makeRoom(((Larger) found).bytes(), reference, attempt == ATTEMPTS);
        }
    }

    private sealed interface Found {}

    private record Made(Rootfs rootfs) implements Found {}

    /** There has to be room for so many bytes more. */
    private record Larger(long bytes) implements Found {}

    private Found find(Request request, ImageReference reference) {
        prepare();
        try (Images images = new Images(directory, request.platform(), request.reach(), environment, work)) {
            work.begin("Looking up " + reference, 0);
            Image image = images.find(reference);
            byte[] identity = identity(image, request.options());
            String key = HexFormat.of().formatHex(identity, 0, 20);
            Path file = directory.resolve("images").resolve(key + EXT4);
            try (FileLock lock = FileLock.exclusive(
                    directory.resolve("locks").resolve(key), "the image of " + request.reference(), work)) {
                boolean cached = Files.isRegularFile(file);
                long disk = request.options().bytes();
                if (!reserve(cached ? 0 : sum(image.missing(), disk))) {
                    return new Larger(cached ? 0 : sum(image.fetched(), disk));
                }
                long used = cached ? 0 : build(request, image, identity, file);
                Files.setLastModifiedTime(metadata(file), FileTime.from(Instant.now()));
                link(ImageReference.slug(request.reference()), file);
                Files.deleteIfExists(using.orElseThrow().path().resolve(RESERVED));
                return new Made(new Rootfs(file, image.id(), cached, used));
            }
        } catch (IOException e) {
            throw ForkdException.of("use the cache " + directory, e);
        }
    }

    /** Builds a disk image under a name of the user's choice; only what was pulled is kept in the cache. */
    public Rootfs buildTo(Request request, Path output) {
        ImageReference reference = ImageReference.parse(request.reference());
        prepare();
        Path target = output.toAbsolutePath().normalize();
        Path parent = Optional.ofNullable(target.getParent()).orElse(target);
        if (Files.isDirectory(target) || !Files.isDirectory(parent)) {
            throw new ForkdException(
                    Kind.FAILED,
                    Files.isDirectory(target) ? target + " is a directory" : parent + " is no directory",
                    Remedy.Action.NAME_OUTPUT);
        }
        try (Images images = new Images(directory, request.platform(), request.reach(), environment, work)) {
            work.begin("Looking up " + reference, 0);
            Image image = images.find(reference);
            OwnedDirectory.sweep(parent, BUILDING);
            try (OwnedDirectory staging = OwnedDirectory.create(parent, BUILDING)) {
                Path file = staging.path().resolve("rootfs" + EXT4);
                // By the umask, as what any other program makes.
                Set<PosixFilePermission> permissions = Files.getPosixFilePermissions(
                        Files.createFile(staging.path().resolve("permissions")));
                long used = write(request, image, identity(image, request.options()), file);
                Files.setPosixFilePermissions(file, permissions);
                Trees.rename(file, target);
                return new Rootfs(target, image.id(), false, used);
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + target, e);
        }
    }

    /**
     * A disk image that was made elsewhere.
     *
     * @param content of all its bytes
     * @param modified the time that it has to have, in milliseconds since 1970: a snapshot in which it is mounted knows it
     * @param reference what is said of it in the list
     */
    public record Carried(Digest content, long bytes, OptionalLong modified, String reference) {}

    /** Writes an image to a file that is not there; what it writes is of the content that was said. */
    public interface Source {
        void writeTo(Path file) throws IOException;
    }

    /** Where it is, or will be: it is shared by all that need these bytes of that time. */
    public Path place(Carried image) {
        String time = image.modified().isPresent() ? "-" + image.modified().getAsLong() : "";
        return directory
                .resolve("images")
                .resolve("disk-" + image.content().hex().substring(0, 40) + time + EXT4);
    }

    /** Has everything stay that is here, until this is closed. */
    public void use() {
        prepare();
    }

    /** Takes it in, unless it is there. */
    public Path put(Carried image, Source source) {
        return make(image, made -> {
            source.writeTo(made);
            return description(image, made);
        });
    }

    /** Writes an image to a file that is not there, and says what is noted of it. */
    private interface Maker {
        String make(Path file) throws IOException;
    }

    private Path make(Carried image, Maker maker) {
        prepare();
        Path file = place(image);
        Path name = directory.resolve("locks").resolve(String.valueOf(file.getFileName()));
        try (FileLock lock = FileLock.exclusive(name, "the disk image " + file, work)) {
            if (Files.isRegularFile(file)) {
                requireSame(image, file);
            } else {
                take(image, maker, file);
            }
            Files.setLastModifiedTime(metadata(file), FileTime.from(Instant.now()));
            return file;
        } catch (IOException e) {
            throw ForkdException.of("put a disk image into the cache " + directory, e);
        }
    }

    private void take(Carried image, Maker maker, Path file) throws IOException {
        try (OwnedDirectory staging = OwnedDirectory.create(directory, STAGING)) {
            Path made = staging.path().resolve("rootfs" + EXT4);
            String said = maker.make(made);
            if (image.modified().isPresent()) {
                Files.setLastModifiedTime(
                        made, FileTime.fromMillis(image.modified().getAsLong()));
            }
            requireSame(image, made);
            Files.setPosixFilePermissions(made, PosixFilePermissions.fromString("r--------"));
            Trees.sync(made);
            Path description = staging.path().resolve("rootfs.json");
            Trees.writeNew(description, said.getBytes(StandardCharsets.UTF_8));
            Files.move(description, metadata(file), StandardCopyOption.ATOMIC_MOVE);
            Trees.rename(made, file);
        }
    }

    private static long taken(Path file) throws IOException {
        return FileSize.in(Optional.ofNullable(file.getParent()).orElse(file)).stream()
                .filter(each -> each.file().equals(file))
                .mapToLong(FileSize::physical)
                .sum();
    }

    private static String description(Carried image, Path made) throws IOException {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.put("reference", image.reference())
                .put("image", image.content().toString())
                .put("used_bytes", taken(made));
        return Json.text(json) + "\n";
    }

    /**
     * What a disk image that is here is made of, if that is all that it takes to make it elsewhere; fails with the reason
     * where it is not, or where the registry does not have the image any more.
     */
    public Recipe recipe(Path disk, Reach reach) {
        JsonNode json;
        try {
            json = Json.parse(Files.readAllBytes(metadata(disk)));
        } catch (NoSuchFileException e) {
            throw notAgain(disk, "nothing says that it was made of an image");
        } catch (IOException e) {
            throw ForkdException.of("read " + metadata(disk), e);
        } catch (JacksonException e) {
            throw notAgain(disk, metadata(disk) + " is damaged");
        }
        if (!json.has(MANIFEST)
                || !(ImageReference.parse(json.path("reference").asString("")) instanceof InRegistry reference)) {
            throw notAgain(disk, "it was not made of an image of a registry");
        }
        if (!json.path("packages").isEmpty()) {
            throw notAgain(disk, "it has packages that were installed here");
        }
        if (!json.path(BUILDER).asString("").equals(builder().toString())) {
            throw notAgain(disk, "another version of this program made it");
        }
        InRegistry image = reference.at(Digest.parse(json.path(MANIFEST).asString("")));
        Recipe recipe = new Recipe(image, Platform.parse(json.path("platform").asString("")), builder());
        prepare();
        work.begin("Looking whether the registry has " + image, 0);
        try (Images images = new Images(directory, recipe.platform(), reach, environment, work)) {
            images.requireThere(image);
        } catch (ForkdException e) {
            throw e.kind() == Kind.NOT_FOUND ? notAgain(disk, e.sentence()) : e;
        }
        return recipe;
    }

    private static ForkdException notAgain(Path disk, String why) {
        return new ForkdException(
                Kind.CONFLICT,
                "the root disk " + disk + " cannot be made again elsewhere: " + why,
                Remedy.Action.PUSH_ROOT_DISK);
    }

    /** Makes one of what it was made of elsewhere, unless it is there; fails when that comes to something else. */
    public Path build(Carried image, Recipe recipe, Reach reach) {
        if (Files.isRegularFile(place(image))) {
            return put(image, file -> {});
        }
        if (!recipe.builder().equals(builder())) {
            throw new ForkdException(
                    Kind.UNSUPPORTED,
                    "the root disk of " + image.reference() + " has to be built of " + recipe.image()
                            + ", and another version of this program than the one that made it builds another",
                    Remedy.Action.PUSH_ROOT_DISK);
        }
        Request request = new Request(
                recipe.image().toString(),
                recipe.platform(),
                reach,
                new RootfsOptions(Math.toIntExact(image.bytes() >> 20), List.of()));
        prepare();
        try (Images images = new Images(directory, recipe.platform(), reach, environment, work)) {
            work.begin("Looking up " + recipe.image(), 0);
            Image found = images.find(recipe.image());
            new Room()
                    .and(directory, sum(found.missing(), image.bytes()), "the root disk of " + image.reference())
                    .require();
            return make(image, made -> {
                long used = write(request, found, identity(found, request.options()), made);
                work.begin("Comparing the root disk with that of " + image.reference(), image.bytes());
                Digest content = Digest.ofFile(made, this::progress);
                if (!content.equals(image.content())) {
                    throw new ForkdException(
                            Kind.DAMAGED,
                            "the root disk of " + image.reference() + " is not what " + recipe.image()
                                    + " comes to here: that has the content " + content.brief() + ", and it had "
                                    + image.content().brief(),
                            Remedy.Action.PUSH_ROOT_DISK);
                }
                return description(request, found, used);
            });
        }
    }

    private void progress(long bytes) {
        work.check();
        work.advance(bytes);
    }

    /** Nobody but us writes here, and a time that a file system cannot keep is not the one that was asked for. */
    private static void requireSame(Carried image, Path file) throws IOException {
        long modified = Files.getLastModifiedTime(file).toMillis();
        if (Files.size(file) != image.bytes() || modified != image.modified().orElse(modified)) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    "the disk image " + file + " does not have the size or the time that it has to have",
                    "If somebody has changed it, remove it.");
        }
    }

    /** Of what a manifest says, which may be anything. */
    private static long sum(long packed, long disk) {
        return packed < 0 || packed > Long.MAX_VALUE - disk - DOCUMENTS ? Long.MAX_VALUE - DOCUMENTS : packed + disk;
    }

    /**
     * Has as much be kept free for this one, in place of what was before; what it takes at most, so that nobody has to look
     * again while it is built. Says whether there is room.
     */
    private boolean reserve(long wanted) throws IOException {
        if (bound.isEmpty()) {
            return true;
        }
        Path mine = using.orElseThrow().path();
        try (FileLock one = FileLock.exclusive(directory.resolve("locks/room"), "the room in " + directory, work)) {
            long taken = bytes();
            for (Path other : Trees.list(directory)) {
                if (other.getFileName().toString().startsWith(USING) && !other.equals(mine)) {
                    taken += reserved(other);
                }
            }
            if (wanted > bound.get().bytes() - taken) {
                return false;
            }
            Files.writeString(mine.resolve(RESERVED), Long.toString(wanted));
            return true;
        }
    }

    private static long reserved(Path using) throws IOException {
        try {
            return OwnedDirectory.isAlive(using) ? Long.parseLong(Files.readString(using.resolve(RESERVED))) : 0;
        } catch (NoSuchFileException e) {
            return 0; // It has not said yet.
        }
    }

    /** What is here takes, but for what is being made. */
    private long bytes() throws IOException {
        long names = (long) Trees.list(directory).size()
                + Trees.list(directory.resolve("locks")).size();
        return names * BLOCK + list().stream().mapToLong(Cached::bytes).sum() + new BlobStore(directory).bytes(BLOCK);
    }

    /** What can be had again goes: first what was pulled, then the disk images that were not asked for the longest. */
    private void makeRoom(long wanted, ImageReference reference, boolean last) {
        Bound most = bound.orElseThrow();
        close(); // Or it would be in use by this one.
        try (FileLock closed = closed(last)
                .orElseThrow(() -> new NoRoomException(
                        "there is no room for " + reference
                                + " while other images of the same user are made; try again",
                        true))) {
            removePulled();
            List<Cached> unused = unused(most.inUse().get());
            unused.sort(Comparator.comparing(Cached::used));
            for (Cached oldest : unused) {
                if (bytes() <= most.bytes() - wanted - DOCUMENTS) {
                    break;
                }
                remove(oldest);
            }
            removeDeadLinks();
            long taken = bytes();
            if (taken > most.bytes() - wanted - DOCUMENTS) {
                throw new NoRoomException(
                        reference + " needs up to " + mib(sum(wanted, DOCUMENTS)) + " MiB, and of the "
                                + mib(most.bytes())
                                + " MiB that a user's images may take snapshots and sandboxes use " + mib(taken)
                                + ": to remove some makes room, and so does a smaller disk",
                        false);
            }
        } catch (IOException e) {
            throw ForkdException.of("clean the cache " + directory, e);
        }
    }

    private Optional<FileLock> closed(boolean never) throws IOException {
        return never ? Optional.empty() : OwnedDirectory.closeIfUnused(directory, USING);
    }

    private static long mib(long bytes) {
        return (bytes + (1 << 20) - 1) >> 20;
    }

    private void prepare() {
        try {
            Files.createDirectories(directory, Trees.PRIVATE);
            if (!isCache() && (Files.exists(directory.resolve("images")) || Files.exists(directory.resolve("blobs")))) {
                throw new ForkdException(
                        Kind.CONFLICT,
                        directory + " is no cache of forkd's, and has files of others under the names that one uses",
                        Remedy.Action.OTHER_CACHE);
            }
            Trees.makePrivate(directory.resolve("locks"));
            Trees.makePrivate(directory.resolve("images"));
            OwnedDirectory.sweep(directory, STAGING);
            OwnedDirectory.sweep(directory, USING);
            if (using.isEmpty()) {
                using = Optional.of(OwnedDirectory.createUnlessClosed(directory, USING, work));
            }
        } catch (IOException e) {
            ForkdException failure = ForkdException.of("use the cache " + directory, e);
            throw new ForkdException(failure.kind(), failure.sentence(), Remedy.Action.OWN_CACHE);
        }
    }

    /** Whether we made it; an OCI layout has a folder {@code blobs}, too. */
    private boolean isCache() {
        return Files.isDirectory(directory.resolve("locks"));
    }

    private byte[] identity(Image image, RootfsOptions options) throws IOException {
        String all = String.join(
                "\n",
                FORMAT,
                image.id().toString(),
                Long.toString(options.bytes()),
                String.join(" ", options.packages()),
                guest().toString());
        return HexFormat.of()
                .parseHex(Digest.sha256(all.getBytes(StandardCharsets.UTF_8)).hex());
    }

    private Digest guest() throws IOException {
        return Digest.sha256(Files.readAllBytes(guestBinary));
    }

    /** What else than image, platform and size decides what an image comes to. */
    private Digest builder() {
        try {
            return Digest.sha256((FORMAT + "\n" + guest()).getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw ForkdException.of("read " + guestBinary, e);
        }
    }

    private long build(Request request, Image image, byte[] identity, Path file) throws IOException {
        try (OwnedDirectory staging = OwnedDirectory.create(directory, STAGING)) {
            Path made = staging.path().resolve("rootfs" + EXT4);
            long used = write(request, image, identity, made);
            Files.setPosixFilePermissions(made, PosixFilePermissions.fromString("r--------"));
            Path description = staging.path().resolve("rootfs.json");
            Trees.writeNew(description, description(request, image, used).getBytes(StandardCharsets.UTF_8));
            Files.move(description, metadata(file), StandardCopyOption.ATOMIC_MOVE);
            Trees.rename(made, file);
            return used;
        }
    }

    private long write(Request request, Image image, byte[] identity, Path file) throws IOException {
        RootfsBuilder builder = new RootfsBuilder(mkfs, guestBinary, work);
        long bytes = request.options().bytes();
        work.begin(
                image.missing() > 0 ? "Pulling and building " + request.reference() : "Building " + request.reference(),
                image.missing());
        if (request.options().packages().isEmpty()) {
            return builder.build(image, image.layers(), bytes, identity, file);
        }
        Path staging = Optional.ofNullable(file.getParent()).orElse(file);
        try (ExtraPackages extra = new ExtraPackages(staging, mktree, work)) {
            Layer whole = extra.install(image.layers(), bytes, request.options().packages());
            work.begin("Building " + request.reference() + " with its extra packages", 0);
            return builder.build(image, List.of(whole), bytes, identity, file);
        }
    }

    private static Path metadata(Path file) {
        return file.resolveSibling(file.getFileName().toString().replaceFirst("\\.ext4$", ".json"));
    }

    private String description(Request request, Image image, long used) {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.put("reference", request.reference())
                .put("image", image.id().toString())
                .put("platform", request.platform().toString())
                .put("size_mib", request.options().sizeMib())
                .put("used_bytes", used)
                .put(BUILDER, builder().toString());
        image.manifest().ifPresent(manifest -> json.put(MANIFEST, manifest.toString()));
        request.options().packages().forEach(json.putArray("packages")::add);
        return Json.text(json) + "\n";
    }

    private void link(String slug, Path file) throws IOException {
        Path link = directory.resolve(slug + EXT4);
        Path target = directory.relativize(file);
        if (Files.isSymbolicLink(link) && Files.readSymbolicLink(link).equals(target)) {
            return;
        }
        if (Files.exists(link, LinkOption.NOFOLLOW_LINKS) && !Files.isSymbolicLink(link)) {
            work.say(link + " is not ours and stays as it is");
            return;
        }
        try (OwnedDirectory staging = OwnedDirectory.create(directory, STAGING)) {
            Path fresh = Files.createSymbolicLink(staging.path().resolve("link"), target);
            Files.move(fresh, link, StandardCopyOption.ATOMIC_MOVE);
        }
    }

    /** A disk image in the cache. */
    public record Cached(Path file, String reference, Digest image, List<String> packages, long bytes, Instant used) {}

    public List<Cached> list() {
        List<Cached> found = new ArrayList<>();
        try {
            for (Path file : Trees.list(directory.resolve("images"))) {
                if (file.toString().endsWith(EXT4)) {
                    found.add(cached(file));
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("list " + directory, e);
        }
        return found;
    }

    private static Cached cached(Path file) throws IOException {
        try {
            JsonNode json = Json.parse(Files.readAllBytes(metadata(file)));
            List<String> packages = new ArrayList<>();
            json.path("packages").forEach(name -> packages.add(name.asString("")));
            return new Cached(
                    file,
                    json.path("reference").asString(""),
                    Digest.parse(json.path("image").asString("")),
                    packages,
                    diskBytes(file),
                    Files.getLastModifiedTime(metadata(file)).toInstant());
        } catch (JacksonException e) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    metadata(file) + " is damaged",
                    "Remove it and " + file + "; both can be made again.");
        }
    }

    /** What a sparse file takes on the disk is not told by Java; what is in it, we wrote down. */
    private static long diskBytes(Path file) throws IOException {
        JsonNode json = Json.parse(Files.readAllBytes(metadata(file)));
        return json.path("used_bytes").asLong(Files.size(file));
    }

    /** What pruning did, or would do. */
    public record Pruned(List<Cached> images, List<Path> blobs, long bytes) {}

    /**
     * Removes disk images that nobody uses, and then everything that was pulled.
     *
     * @param inUse finds the files that snapshots and sandboxes need; asked when no new ones can come
     */
    public Pruned prune(Supplier<Set<Path>> inUse, boolean dryRun) {
        if (!isCache()) {
            return new Pruned(List.of(), List.of(), 0);
        }
        try (FileLock closed = OwnedDirectory.closeIfUnused(directory, USING)
                .orElseThrow(() -> new ForkdException(
                        Kind.FAILED,
                        "the cache " + directory + " is in use: an image is being built or booted",
                        "Prune when that is done."))) {
            List<Cached> images = unused(inUse.get());
            List<BlobStore.Stored> blobs = new BlobStore(directory).list();
            if (!dryRun) {
                for (Cached image : images) {
                    remove(image);
                }
                removePulled();
                removeDeadLinks();
            }
            long bytes = images.stream().mapToLong(Cached::bytes).sum()
                    + blobs.stream().mapToLong(BlobStore.Stored::bytes).sum();
            return new Pruned(images, blobs.stream().map(BlobStore.Stored::file).toList(), bytes);
        } catch (IOException e) {
            throw ForkdException.of("clean the cache " + directory, e);
        }
    }

    private List<Cached> unused(Set<Path> needed) throws IOException {
        List<Cached> images = new ArrayList<>();
        for (Cached cached : list()) {
            if (!needed.contains(cached.file().toRealPath())) {
                images.add(cached);
            }
        }
        return images;
    }

    private static void remove(Cached image) throws IOException {
        Files.deleteIfExists(image.file());
        Files.deleteIfExists(metadata(image.file()));
    }

    private void removePulled() throws IOException {
        for (BlobStore.Stored blob : new BlobStore(directory).list()) {
            Files.deleteIfExists(blob.file());
        }
        new BlobStore(directory).forgetTags();
        for (Path lock : Trees.list(directory.resolve("locks"))) {
            Files.deleteIfExists(lock);
        }
    }

    @Override
    public void close() {
        using.ifPresent(OwnedDirectory::close);
        using = Optional.empty();
    }

    private void removeDeadLinks() throws IOException {
        for (Path entry : Trees.list(directory)) {
            if (entry.toString().endsWith(EXT4) && Files.isSymbolicLink(entry) && !Files.exists(entry)) {
                Files.delete(entry);
            }
        }
    }
}
