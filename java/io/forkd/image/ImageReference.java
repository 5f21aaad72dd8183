package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Where an image is: in a registry, in a folder or file, or with a Docker daemon. */
public sealed interface ImageReference {
    /**
     * An image of a registry. Without a tag or digest it is the tag {@code latest}; with both, the digest counts.
     *
     * @param registry host with port, as it is spoken to: Docker Hub is {@code registry-1.docker.io}
     */
    record InRegistry(String registry, String repository, String tag, Optional<Digest> digest)
            implements ImageReference {
        static final String DOCKER_HUB = "registry-1.docker.io";
        private static final Pattern NAME = Pattern.compile(
                "[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*)*");
        private static final Pattern TAG = Pattern.compile("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}");
        private static final Pattern HOST =
                Pattern.compile("(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9a-fA-F:]+])(?::[0-9]{1,5})?");

        public static InRegistry parse(String text) {
            String rest = text;
            Optional<Digest> digest = Optional.empty();
            int at = rest.indexOf('@');
            if (at >= 0) {
                digest = Optional.of(Digest.parse(rest.substring(at + 1)));
                rest = rest.substring(0, at);
            }
            String tag = "latest";
            int colon = rest.lastIndexOf(':');
            if (colon > rest.lastIndexOf('/')) {
                tag = rest.substring(colon + 1);
                rest = rest.substring(0, colon);
            }
            int slash = rest.indexOf('/');
            String first = slash < 0 ? "" : rest.substring(0, slash);
            boolean named = first.contains(".") || first.contains(":") || first.equals("localhost");
            String registry = named ? first : "docker.io";
            String repository = named ? rest.substring(slash + 1) : rest;
            if (registry.equals("docker.io") || registry.equals("index.docker.io")) {
                registry = DOCKER_HUB;
                repository = repository.contains("/") ? repository : "library/" + repository;
            }
            if (!NAME.matcher(repository).matches()) {
                throw bad(text, "the name " + repository + " has to be of lower-case letters, digits and . _ - /");
            }
            if (!TAG.matcher(tag).matches()) {
                throw bad(text, "the tag " + tag + " has to be of 1 to 128 letters, digits and . _ -");
            }
            Matcher host = HOST.matcher(registry);
            if (!host.matches()) {
                throw bad(text, registry + " is no host name");
            }
            return new InRegistry(registry, repository, tag, digest);
        }

        /** The same, of which the digest says what it is. */
        public InRegistry at(Digest digest) {
            return new InRegistry(registry, repository, tag, Optional.of(digest));
        }

        /** Whether the registry is on this machine. */
        boolean isLoopback() {
            return registry.matches("(localhost|127(\\.[0-9]+){3}|\\[::1])(:[0-9]+)?");
        }

        @Override
        public String toString() {
            String host = registry.equals(DOCKER_HUB) ? "docker.io" : registry;
            return host + "/" + repository + digest.map(d -> "@" + d).orElse(":" + tag);
        }
    }

    /** An OCI layout in a folder; without a name it must have one image only. */
    record OciLayout(Path directory, Optional<String> name) implements ImageReference {
        @Override
        public String toString() {
            return "oci:" + directory + name.map(n -> ":" + n).orElse("");
        }
    }

    /** An OCI layout in a tar file. */
    record OciArchive(Path file, Optional<String> name) implements ImageReference {
        @Override
        public String toString() {
            return "oci-archive:" + file + name.map(n -> ":" + n).orElse("");
        }
    }

    /** What {@code docker save} and {@code podman save} write. */
    record DockerArchive(Path file, Optional<String> name) implements ImageReference {
        @Override
        public String toString() {
            return "docker-archive:" + file + name.map(n -> ":" + n).orElse("");
        }
    }

    /** An image that the local Docker daemon has. */
    record DockerDaemon(String name) implements ImageReference {
        @Override
        public String toString() {
            return "docker-daemon:" + name;
        }
    }

    /** {@code [docker://]NAME[:TAG][@DIGEST]}, or one of the prefixes of the other kinds. */
    static ImageReference parse(String text) {
        int colon = text.indexOf(':');
        String rest = text.substring(colon + 1);
        return switch (colon < 0 ? "" : text.substring(0, colon)) {
            case "oci" -> atPath(text, rest, OciLayout::new);
            case "oci-archive" -> atPath(text, rest, OciArchive::new);
            case "docker-archive" -> atPath(text, rest, DockerArchive::new);
            case "docker-daemon" -> {
                if (rest.isEmpty()) {
                    throw bad(text, "it names no image");
                }
                yield new DockerDaemon(rest);
            }
            case "docker" -> InRegistry.parse(rest.startsWith("//") ? rest.substring(2) : text);
            default -> InRegistry.parse(text);
        };
    }

    /** Makes a reference of a path and of what follows it. */
    @FunctionalInterface
    interface AtPath {
        ImageReference of(Path path, Optional<String> name);
    }

    private static ImageReference atPath(String text, String rest, AtPath kind) {
        int colon = rest.indexOf(':');
        String path = colon < 0 ? rest : rest.substring(0, colon);
        if (path.isEmpty()) {
            throw bad(text, "it names no path");
        }
        return kind.of(
                Path.of(path).toAbsolutePath(), colon < 0 ? Optional.empty() : Optional.of(rest.substring(colon + 1)));
    }

    private static ForkdException bad(String text, String why) {
        return new ForkdException(
                Kind.USAGE,
                "not an image reference: " + text + ": " + why,
                "Examples: python:3.12-slim, ghcr.io/user/repo:tag, localhost:5000/py@sha256:..., oci:DIR:tag,"
                        + " oci-archive:FILE, docker-archive:FILE, docker-daemon:NAME");
    }

    /** A name for files: every character that is no letter or digit is a dash, none at the ends. */
    static String slug(String reference) {
        return reference.replaceAll("[^A-Za-z0-9]", "-").replaceAll("^-+|-+$", "");
    }
}
