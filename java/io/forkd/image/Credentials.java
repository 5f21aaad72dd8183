package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import tools.jackson.databind.JsonNode;

/**
 * User names and passwords for registries, from where docker and podman keep theirs: {@code $REGISTRY_AUTH_FILE},
 * {@code $DOCKER_CONFIG/config.json} or {@code ~/.docker/config.json}, {@code $XDG_RUNTIME_DIR/containers/auth.json};
 * and from the helper programs that are named there.
 */
final class Credentials {
    /** What helpers give as the user when the password is an identity token. */
    static final String TOKEN_USER = "<token>";

    private static final String HUB_KEY = "https://index.docker.io/v1/";

    /** One registry's. */
    record Login(String user, String password) {
        String basic() {
            return "Basic "
                    + Base64.getEncoder().encodeToString((user + ":" + password).getBytes(StandardCharsets.UTF_8));
        }

        @Override
        public String toString() {
            return user;
        }
    }

    private static final Duration HELPER_TIMEOUT = Duration.ofSeconds(30);

    private final Map<String, String> environment;
    private final Duration helperTimeout;

    Credentials(Map<String, String> environment) {
        this(environment, HELPER_TIMEOUT);
    }

    /** @param helperTimeout how long a helper program may take */
    Credentials(Map<String, String> environment, Duration helperTimeout) {
        this.environment = environment;
        this.helperTimeout = helperTimeout;
    }

    Optional<Login> of(ImageReference.InRegistry image) {
        for (Path file : files()) {
            if (!Files.isRegularFile(file)) {
                continue;
            }
            Optional<Login> login = inFile(file, keys(image));
            if (login.isPresent()) {
                return login;
            }
        }
        return Optional.empty();
    }

    private List<Path> files() {
        List<Path> files = new ArrayList<>();
        variable("REGISTRY_AUTH_FILE").ifPresent(file -> files.add(Path.of(file)));
        variable("DOCKER_CONFIG")
                .map(directory -> Path.of(directory, "config.json"))
                .or(() -> variable("HOME").map(home -> Path.of(home, ".docker", "config.json")))
                .ifPresent(files::add);
        variable("XDG_RUNTIME_DIR").ifPresent(run -> files.add(Path.of(run, "containers", "auth.json")));
        return files;
    }

    private Optional<String> variable(String name) {
        return Optional.ofNullable(environment.get(name)).filter(value -> !value.isEmpty());
    }

    /** The names under which an image's registry may stand, the most exact first. */
    private static List<String> keys(ImageReference.InRegistry image) {
        if (image.registry().equals(ImageReference.InRegistry.DOCKER_HUB)) {
            return List.of(HUB_KEY, "docker.io", "index.docker.io", image.registry());
        }
        List<String> keys = new ArrayList<>();
        for (String path = image.repository(); !path.isEmpty(); ) {
            keys.add(image.registry() + "/" + path);
            path = path.substring(0, Math.max(0, path.lastIndexOf('/')));
        }
        keys.addAll(List.of(image.registry(), "https://" + image.registry(), "http://" + image.registry()));
        return keys;
    }

    private Optional<Login> inFile(Path file, List<String> keys) {
        JsonNode config;
        try {
            config = Documents.parse(Files.readAllBytes(file), file.toString());
        } catch (IOException e) {
            throw ForkdException.of("read credentials in " + file, e);
        }
        for (String key : keys) {
            String helper = config.path("credHelpers").path(key).asString("");
            if (!helper.isEmpty()) {
                return ask(helper, key);
            }
        }
        String store = config.path("credsStore").asString("");
        for (String key : keys) {
            JsonNode entry = config.path("auths").path(key);
            Optional<Login> login = entry.isObject() ? login(entry, file) : Optional.empty();
            if (login.isPresent()) {
                return login;
            }
            if (!store.isEmpty()) {
                login = ask(store, key);
                if (login.isPresent()) {
                    return login;
                }
            }
        }
        return Optional.empty();
    }

    private static Optional<Login> login(JsonNode entry, Path file) {
        String token = entry.path("identitytoken").asString("");
        if (!token.isEmpty()) {
            return Optional.of(new Login(TOKEN_USER, token));
        }
        String auth = entry.path("auth").asString("");
        if (auth.isEmpty()) {
            String user = entry.path("username").asString("");
            return user.isEmpty()
                    ? Optional.empty()
                    : Optional.of(new Login(user, entry.path("password").asString("")));
        }
        try {
            String text = new String(Base64.getDecoder().decode(auth), StandardCharsets.UTF_8);
            int colon = text.indexOf(':');
            if (colon > 0) {
                return Optional.of(new Login(
                        text.substring(0, colon), text.substring(colon + 1).replaceAll("\0+$", "")));
            }
        } catch (IllegalArgumentException e) {
            // Said below.
        }
        throw new ForkdException(
                Kind.DAMAGED, "an \"auth\" in " + file + " is not the base64 of user:password", "Log in again.");
    }

    /** Where a program is, by the PATH of the environment that we were given. */
    private String found(String program) {
        return variable("PATH").stream()
                .flatMap(path -> Arrays.stream(path.split(":")))
                .map(directory -> Path.of(directory, program))
                .filter(Files::isExecutable)
                .map(Path::toString)
                .findFirst()
                .orElse(program);
    }

    /** Asks a helper program, which knows passwords that no file has. */
    private Optional<Login> ask(String helper, String key) {
        String program = "docker-credential-" + helper;
        String named = program + ", which the docker configuration names for " + key;
        try {
            ProcessBuilder builder = new ProcessBuilder(found(program), "get");
            builder.environment().putAll(environment);
            Process process =
                    builder.redirectError(ProcessBuilder.Redirect.DISCARD).start();
            try {
                return answer(process, program, key);
            } catch (TimeoutException e) {
                throw new ForkdException(
                        Kind.FAILED,
                        named + ", did not answer within " + helperTimeout.toSeconds() + " seconds",
                        "Try it: echo " + key + " | " + program + " get");
            } finally {
                process.descendants().forEach(ProcessHandle::destroyForcibly);
                process.destroyForcibly();
            }
        } catch (IOException e) {
            throw new ForkdException(Kind.FAILED, "cannot run " + named + ": " + ForkdException.reason(e));
        } catch (ExecutionException e) {
            throw new ForkdException(Kind.FAILED, "cannot read what " + named + ", says: " + e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    private Optional<Login> answer(Process process, String program, String key)
            throws IOException, ExecutionException, InterruptedException, TimeoutException {
        long end = System.nanoTime() + helperTimeout.toNanos();
        FutureTask<byte[]> reading =
                new FutureTask<>(() -> process.getInputStream().readNBytes(Documents.MAX_BYTES));
        Thread reader = new Thread(reading, program);
        reader.setDaemon(true);
        reader.start();
        try (OutputStream in = process.getOutputStream()) {
            in.write(key.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            // It may know the answer without the question.
        }
        byte[] answer = reading.get(helperTimeout.toNanos(), TimeUnit.NANOSECONDS);
        if (!process.waitFor(end - System.nanoTime(), TimeUnit.NANOSECONDS)) {
            throw new TimeoutException();
        }
        if (process.exitValue() != 0) {
            return Optional.empty(); // it knows nothing of this registry
        }
        JsonNode login = Documents.parse(answer, "the answer of " + program);
        return Optional.of(new Login(
                login.path("Username").asString(""), login.path("Secret").asString("")));
    }
}
