package io.forkd.http;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.Trees;
import io.forkd.http.Caller.Means;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFileAttributeView;
import java.nio.file.attribute.PosixFileAttributes;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Who may ask over TCP. Either one secret, which is an administrator's; or a line for each caller:
 *
 * <pre>NAME sha256:HASH ROLE [sandboxes=N] [memory-mib=N] [snapshots=N]</pre>
 *
 * <p>Lines that are empty or begin with {@code #} say nothing. The secrets are 256 random bits: nobody finds one by trying,
 * so a hash that is slow to calculate, as for passwords, would keep nobody out and cost time at each request.
 */
public final class TokenFile {
    private static final int LEAST_BYTES = 16;
    private static final int MOST_BYTES = 4096;
    private static final int MOST_FILE_BYTES = 1 << 20;
    private static final int SECRET_BYTES = 32;
    private static final String SCHEME = "Bearer ";
    private static final String HASH = "sha256:";
    private static final String FORM = "NAME sha256:HASH ROLE [sandboxes=N] [memory-mib=N] [snapshots=N]";
    private static final String HEADING = "# " + FORM;
    private static final String NAMES = "a letter or digit, then letters, digits, . _ -, and 64 together at most";
    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}");
    private static final Pattern HEX = Pattern.compile("[0-9a-f]{64}");
    private static final Pattern NUMBER = Pattern.compile("[0-9]{1,15}");
    private static final SecureRandom RANDOM = new SecureRandom();

    /** The name of none but administrators: what is told to be its is no user's. */
    public static final String ADMIN = "admin";

    /** Who has which secret. */
    private record Entry(String hash, Caller caller) {
        boolean isOf(String secretsHash) {
            return MessageDigest.isEqual(
                    secretsHash.getBytes(StandardCharsets.US_ASCII), hash.getBytes(StandardCharsets.US_ASCII));
        }
    }

    private final List<Entry> entries;

    private TokenFile(List<Entry> entries) {
        this.entries = entries;
    }

    static TokenFile read(Path file) {
        String text = text(file);
        List<String> lines = text.lines().map(String::strip).toList();
        return isList(lines) ? new TokenFile(entries(file, lines)) : new TokenFile(List.of(bare(file, text.strip())));
    }

    private static String text(Path file) {
        byte[] bytes;
        try (InputStream in = Files.newInputStream(file)) {
            bytes = in.readNBytes(MOST_FILE_BYTES + 1);
        } catch (IOException e) {
            throw ForkdException.of("read the token file " + file, e);
        }
        if (bytes.length > MOST_FILE_BYTES) {
            throw refused(file, "has more than " + MOST_FILE_BYTES + " bytes", "");
        }
        return new String(bytes, StandardCharsets.UTF_8);
    }

    /** One line that has none of its marks is a secret. */
    private static boolean isList(List<String> lines) {
        List<String> written = lines.stream().filter(line -> !line.isEmpty()).toList();
        return written.size() > 1
                || written.stream().anyMatch(line -> line.startsWith("# ") || line.contains(" " + HASH));
    }

    private static Entry bare(Path file, String secret) {
        String remedy = "Make one: openssl rand -hex 32 > " + file;
        if (secret.isEmpty()) {
            throw refused(file, "is empty", remedy);
        }
        if (secret.startsWith("REPLACE_ME") || secret.startsWith("CHANGE_ME")) {
            throw refused(file, "holds the text that is to be replaced", remedy);
        }
        int length = secret.getBytes(StandardCharsets.UTF_8).length;
        if (length < LEAST_BYTES) {
            throw refused(file, "has " + length + " bytes, and a token needs " + LEAST_BYTES, remedy);
        }
        if (length > MOST_BYTES || secret.chars().anyMatch(c -> c < ' ' || c > '~')) {
            throw refused(file, "is not one line of printable ASCII, so no client could send it", remedy);
        }
        return new Entry(hash(secret), Caller.TOKEN);
    }

    private static List<Entry> entries(Path file, List<String> lines) {
        List<Entry> entries = new ArrayList<>();
        Set<String> names = new HashSet<>();
        Set<String> hashes = new HashSet<>();
        for (int i = 0; i < lines.size(); i++) {
            String line = lines.get(i);
            if (line.isEmpty() || line.startsWith("#")) {
                continue;
            }
            try {
                Entry entry = entry(line);
                if (!names.add(entry.caller().name())) {
                    throw new IllegalArgumentException(
                            "the name " + entry.caller().name() + " is there already");
                }
                if (!hashes.add(entry.hash())) {
                    throw new IllegalArgumentException("another line has the same secret");
                }
                entries.add(entry);
            } catch (IllegalArgumentException e) {
                // Not the line itself, which may hold a secret by mistake.
                throw refused(file, "is wrong in line " + (i + 1) + ": " + e.getMessage(), "A line is: " + FORM);
            }
        }
        return List.copyOf(entries);
    }

    private static Entry entry(String line) {
        String[] words = line.split("[ \t]+", -1);
        if (words.length < 3) {
            throw new IllegalArgumentException("it needs a name, a hash and a role");
        }
        if (!NAME.matcher(words[0]).matches()) {
            throw new IllegalArgumentException("its first word is no name: " + NAMES);
        }
        if (!words[1].startsWith(HASH)
                || !HEX.matcher(words[1].substring(HASH.length())).matches()) {
            throw new IllegalArgumentException("its second word is not " + HASH + " and 64 hexadecimal digits");
        }
        Role role = Arrays.stream(Role.values())
                .filter(each -> word(each).equals(words[2]))
                .findFirst()
                .orElseThrow(() -> new IllegalArgumentException("its role is not admin, user or read"));
        if (role == Role.USER && words[0].equals(ADMIN)) {
            throw new IllegalArgumentException("a user cannot have the name " + ADMIN);
        }
        Map<String, OptionalLong> quotas = new HashMap<>();
        for (String word : List.of(words).subList(3, words.length)) {
            String[] parts = word.split("=", 2);
            if (!Set.of("sandboxes", "memory-mib", "snapshots").contains(parts[0])
                    || parts.length < 2
                    || !NUMBER.matcher(parts[1]).matches()
                    || quotas.put(parts[0], OptionalLong.of(Long.parseLong(parts[1]))) != null) {
                throw new IllegalArgumentException(
                        "what follows the role is not sandboxes=N, memory-mib=N and snapshots=N, each once at most");
            }
        }
        if (role != Role.USER && !quotas.isEmpty()) {
            throw new IllegalArgumentException("quotas are for the role user");
        }
        return new Entry(
                words[1].substring(HASH.length()),
                new Caller(
                        Means.TOKEN,
                        words[0],
                        role,
                        new Quotas(
                                quotas.getOrDefault("sandboxes", OptionalLong.empty()),
                                quotas.getOrDefault("memory-mib", OptionalLong.empty()),
                                quotas.getOrDefault("snapshots", OptionalLong.empty()))));
    }

    private static String word(Role role) {
        return role.name().toLowerCase(Locale.ROOT);
    }

    private static ForkdException refused(Path file, String why, String remedy) {
        return new ForkdException(Kind.FAILED, "the token file " + file + " " + why, remedy);
    }

    /**
     * Whose the token is.
     *
     * @param authorization the header of this name; empty when there is none
     * @throws HttpFailure 401
     */
    Caller check(String authorization) {
        String given = authorization.startsWith(SCHEME)
                ? authorization.substring(SCHEME.length()).strip()
                : "";
        if (given.isEmpty()) {
            throw new HttpFailure(401, "a token is needed: Authorization: Bearer <token>");
        }
        // Of the same length whatever is given, and against all, so that the time it takes tells nothing of any.
        String hash = hash(given);
        @Nullable Caller found = null;
        for (Entry entry : entries) {
            if (entry.isOf(hash)) {
                found = entry.caller();
            }
        }
        if (found == null) {
            throw new HttpFailure(401, "the token is not valid");
        }
        return found;
    }

    /** The caller of that name. */
    Optional<Caller> caller(String name) {
        return entries.stream()
                .map(Entry::caller)
                .filter(caller -> caller.name().equals(name))
                .findFirst();
    }

    private static String hash(String token) {
        try {
            return HexFormat.of()
                    .formatHex(MessageDigest.getInstance("SHA-256").digest(token.getBytes(StandardCharsets.UTF_8)));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    /** The callers of a file that has a line for each. */
    public static List<Caller> list(Path file) {
        return entries(file, requireList(file, text(file))).stream()
                .map(Entry::caller)
                .toList();
    }

    /**
     * Adds a caller with a new secret, to a file that is made when it is not there.
     *
     * @return the secret, which nothing else tells
     */
    public static String add(Path file, String name, Role role, Quotas quotas) {
        if (!NAME.matcher(name).matches()) {
            throw new ForkdException(Kind.USAGE, "'" + name + "' is no name for a caller: " + NAMES);
        }
        byte[] random = new byte[SECRET_BYTES];
        RANDOM.nextBytes(random);
        String secret = HexFormat.of().formatHex(random);
        StringBuilder line = new StringBuilder(name + " " + HASH + hash(secret) + " ").append(word(role));
        quotas.sandboxes().ifPresent(most -> line.append(" sandboxes=").append(most));
        quotas.memoryMib().ifPresent(most -> line.append(" memory-mib=").append(most));
        quotas.snapshots().ifPresent(most -> line.append(" snapshots=").append(most));
        try {
            entry(line.toString());
        } catch (IllegalArgumentException e) {
            throw new ForkdException(Kind.USAGE, "no token can be made for '" + name + "': " + e.getMessage());
        }
        edit(file, true, lines -> {
            if (lines.stream().anyMatch(there -> isOf(there, name))) {
                throw new ForkdException(
                        Kind.CONFLICT,
                        "the token file " + file + " has a caller " + name + " already",
                        "Remove it first.");
            }
            List<String> more = new ArrayList<>(lines);
            more.add(line.toString());
            return more;
        });
        return secret;
    }

    /** Removes a caller; what it made stays. */
    public static void remove(Path file, String name) {
        edit(file, false, lines -> {
            List<String> rest = lines.stream().filter(line -> !isOf(line, name)).toList();
            if (rest.size() == lines.size()) {
                throw new ForkdException(Kind.NOT_FOUND, "the token file " + file + " has no caller " + name);
            }
            return rest;
        });
    }

    private static boolean isOf(String line, String name) {
        return line.startsWith(name + " ") || line.startsWith(name + "\t");
    }

    private static List<String> requireList(Path file, String text) {
        List<String> lines = text.lines().map(String::strip).toList();
        if (!text.isBlank() && !isList(lines)) {
            throw refused(
                    file,
                    "holds one secret, and no line for each caller",
                    "Name another file, and have the daemon use that.");
        }
        return lines;
    }

    /** Whatever dies when, the file is the old one or the new one; whose it is, and who may read it, stays. */
    private static void edit(Path given, boolean make, UnaryOperator<List<String>> change) {
        Path file = given.toAbsolutePath();
        Path staged = file.resolveSibling(file.getFileName() + ".tmp");
        try {
            if (make) {
                Files.createDirectories(Objects.requireNonNull(file.getParent()));
            } else {
                requireList(file, text(file)); // Nothing is made beside one that is not there.
            }
            try (FileLock alone = FileLock.exclusive(file.resolveSibling(file.getFileName() + ".lock"))) {
                boolean isNew = make && Files.notExists(file);
                List<String> lines = new ArrayList<>(isNew ? List.of() : requireList(file, text(file)));
                entries(file, lines); // What is wrong is told, and not written on.
                if (lines.stream().allMatch(String::isEmpty)) {
                    lines.add(0, HEADING);
                }
                byte[] content = (String.join("\n", change.apply(lines)) + "\n").getBytes(StandardCharsets.UTF_8);
                Files.deleteIfExists(staged);
                Files.createFile(staged, Trees.PRIVATE_FILE);
                Files.write(staged, content);
                if (!isNew) {
                    PosixFileAttributes old = Files.readAttributes(file, PosixFileAttributes.class);
                    PosixFileAttributeView view =
                            Objects.requireNonNull(Files.getFileAttributeView(staged, PosixFileAttributeView.class));
                    view.setOwner(old.owner());
                    view.setGroup(old.group());
                    view.setPermissions(old.permissions());
                }
                Trees.sync(staged);
                Trees.rename(staged, file);
            }
        } catch (IOException e) {
            throw ForkdException.of("write the token file " + file, e);
        }
    }
}
