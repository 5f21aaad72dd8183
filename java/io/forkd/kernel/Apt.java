package io.forkd.kernel;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** The distribution's packages. Nothing is installed: packages are downloaded into a folder. */
final class Apt {
    /** What a kernel's meta package leads to: the image, and on Ubuntu the modules beside it. */
    private static final Pattern PART = Pattern.compile("linux-(image|modules)(-unsigned|-extra)?-[0-9].*");

    private Apt() {}

    /** The packages of this machine's distribution that a kernel for guests may come from, the best first. */
    static List<String> defaultPackages() {
        return osRelease("ID").equals("ubuntu")
                ? List.of("linux-image-virtual", "linux-image-generic")
                : List.of("linux-image-cloud-amd64", "linux-image-amd64");
    }

    /** A package, and the release it is taken from where that is not the normal one. */
    record Source(String name, Optional<String> release) {
        private List<String> options() {
            return release.map(value -> List.of("-t", value)).orElse(List.of());
        }

        @Override
        public String toString() {
            return name + release.map(value -> " of " + value).orElse("");
        }
    }

    /**
     * Where to take the first of these packages from that there is. Backports come first when they are configured:
     * Debian 12's own kernel has no VMGENID.
     */
    static Source find(List<String> names) {
        Optional<String> backports = Optional.of(osRelease("VERSION_CODENAME"))
                .filter(name -> !name.isEmpty())
                .map(name -> name + "-backports");
        for (String name : names) {
            for (Source source : Stream.concat(
                            backports.map(release -> new Source(name, Optional.of(release))).stream(),
                            Stream.of(new Source(name, Optional.empty())))
                    .toList()) {
                if (!parts(source).isEmpty()) {
                    return source;
                }
            }
        }
        throw new ForkdException(
                Kind.NOT_FOUND,
                "apt knows no kernel package called " + String.join(" or ", names),
                Remedy.Action.UPDATE_OR_NAME_PACKAGE);
    }

    /** Downloads the packages that a source leads to. */
    static List<Path> download(Source source, Path into) {
        List<String> command = new ArrayList<>(List.of("apt-get", "-qq", "-o", "APT::Sandbox::User=root"));
        command.addAll(source.options());
        command.add("download");
        command.addAll(parts(source));
        Result result = run(command, into);
        if (result.status() != 0) {
            throw new ForkdException(
                    Kind.FAILED,
                    "cannot download " + source + ": " + result.output().strip());
        }
        try (Stream<Path> files = Files.list(into)) {
            return files.filter(file -> file.toString().endsWith(".deb"))
                    .sorted()
                    .toList();
        } catch (IOException e) {
            throw ForkdException.of("list " + into, e);
        }
    }

    /** The packages with the files: of a meta package those it depends on, of another one itself. */
    private static Set<String> parts(Source source) {
        Set<String> parts = new LinkedHashSet<>();
        Deque<String> open = new ArrayDeque<>(List.of(source.name()));
        while (!open.isEmpty()) {
            String name = open.pop();
            List<String> command = new ArrayList<>(List.of("apt-cache"));
            command.addAll(source.options());
            command.addAll(List.of("depends", "--important", name));
            Result result = run(command, Path.of("/"));
            if (result.status() != 0) {
                return Set.of();
            }
            if (PART.matcher(name).matches()) {
                parts.add(name);
            }
            result.output()
                    .lines()
                    .map(String::strip)
                    .filter(line -> line.startsWith("Depends: "))
                    .map(line -> line.substring("Depends: ".length()))
                    .filter(dependency -> PART.matcher(dependency).matches() && !parts.contains(dependency))
                    .forEach(open::push);
        }
        return parts;
    }

    private record Result(int status, String output) {}

    private static Result run(List<String> command, Path directory) {
        ProcessBuilder builder =
                new ProcessBuilder(command).directory(directory.toFile()).redirectErrorStream(true);
        builder.environment().put("LC_ALL", "C");
        try {
            Process process = builder.start();
            process.getOutputStream().close();
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            return new Result(process.waitFor(), output);
        } catch (IOException e) {
            throw new ForkdException(
                    Kind.FAILED,
                    "cannot run " + command.get(0) + ": " + ForkdException.reason(e),
                    Remedy.Action.NAME_PACKAGE_FILE);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    private static String osRelease(String key) {
        try (Stream<String> lines = Files.lines(Path.of("/etc/os-release"))) {
            Map<String, String> values = lines.filter(line -> line.contains("="))
                    .collect(Collectors.toMap(
                            line -> line.substring(0, line.indexOf('=')),
                            line -> line.substring(line.indexOf('=') + 1).replace("\"", ""),
                            (first, second) -> first));
            return values.getOrDefault(key, "");
        } catch (IOException e) {
            return "";
        }
    }
}
