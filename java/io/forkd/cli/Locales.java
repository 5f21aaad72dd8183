package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * What this process was given, as UTF-8. Java takes it for the locale's encoding, which for LC_ALL=C is ASCII, and has
 * then lost all else; only the names of files cannot be had in another way.
 */
final class Locales {
    private Locales() {}

    /** The arguments of the command line, which are the last of the process's. */
    static String[] arguments(String... asJavaHasThem) {
        List<String> given = strings("cmdline");
        int count = asJavaHasThem.length;
        return isLost(asJavaHasThem) && given.size() >= count
                ? given.subList(given.size() - count, given.size()).toArray(String[]::new)
                : asJavaHasThem;
    }

    private static boolean isLost(String... arguments) {
        for (String argument : arguments) {
            for (int i = 0; i < argument.length(); i++) {
                if (argument.charAt(i) > 127) { // U+FFFD, too
                    return true;
                }
            }
        }
        return false;
    }

    /** Whether another program can be given these: Java writes what it could not read as question marks. */
    static boolean canPassOn(String... asJavaHasThem) {
        return Arrays.stream(asJavaHasThem).noneMatch(argument -> argument.indexOf('\uFFFD') >= 0);
    }

    static Map<String, String> environment() {
        Map<String, String> asJavaHasIt = System.getenv();
        if (!isLost(asJavaHasIt.values().toArray(new String[0]))) {
            return asJavaHasIt;
        }
        Map<String, String> environment = new TreeMap<>();
        for (String entry : strings("environ")) {
            int end = entry.indexOf('=');
            if (end > 0) {
                environment.putIfAbsent(entry.substring(0, end), entry.substring(end + 1));
            }
        }
        return environment;
    }

    private static List<String> strings(String file) {
        try {
            String all = new String(Files.readAllBytes(Path.of("/proc/self", file)), StandardCharsets.UTF_8);
            return all.isEmpty()
                    ? List.of()
                    : List.of(all.substring(0, all.length() - 1).split("\0", -1));
        } catch (IOException e) {
            return List.of();
        }
    }

    /** A path that has characters which the locale has not. */
    static ForkdException failure(InvalidPathException e) {
        return new ForkdException(
                Kind.FAILED,
                "the path " + e.getInput() + " cannot be used: " + e.getReason(),
                "Java finds no file whose name has characters that the locale lacks. Set LC_ALL=C.UTF-8.");
    }
}
