package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalInt;

/** What an image was built for, such as {@code linux/amd64} or {@code linux/arm/v7}. */
public record Platform(String os, String architecture, String variant) {
    private static final Map<String, String> GO_NAMES =
            Map.of("x86_64", "amd64", "aarch64", "arm64", "i386", "386", "i686", "386");

    /** Of amd64, each with all instructions of those before it. */
    private static final List<String> LEVELS = List.of("v1", "v2", "v3", "v4");

    public static Platform host() {
        String name = System.getProperty("os.arch", "").toLowerCase(Locale.ROOT);
        return new Platform("linux", GO_NAMES.getOrDefault(name, name), "");
    }

    /** {@code os/architecture[/variant]}. */
    public static Platform parse(String text) {
        String[] parts = text.split("/", -1);
        if (parts.length < 2 || parts.length > 3 || parts[0].isEmpty() || parts[1].isEmpty()) {
            throw new ForkdException(
                    Kind.USAGE, "not a platform: " + text, "A platform is OS/ARCHITECTURE[/VARIANT]: linux/amd64");
        }
        return new Platform(parts[0], GO_NAMES.getOrDefault(parts[1], parts[1]), parts.length == 3 ? parts[2] : "");
    }

    /**
     * How well an image for {@code offered} fits where this platform is asked for; the more the better, and empty where
     * it cannot be taken. Of amd64 it is the highest level of instructions that is not above the one that was asked for,
     * which is the first unless it was said.
     */
    OptionalInt fit(Platform offered) {
        if (!os.equals(offered.os) || !architecture.equals(offered.architecture)) {
            return OptionalInt.empty();
        }
        if (variant.equals(offered.variant)) {
            return OptionalInt.of(LEVELS.size());
        }
        if (architecture.equals("amd64")) {
            int wanted = LEVELS.indexOf(variant.isEmpty() ? "v1" : variant);
            int level = LEVELS.indexOf(offered.variant.isEmpty() ? "v1" : offered.variant);
            return level >= 0 && level <= wanted ? OptionalInt.of(level) : OptionalInt.empty();
        }
        return variant.isEmpty() || offered.variant.isEmpty() ? OptionalInt.of(0) : OptionalInt.empty();
    }

    @Override
    public String toString() {
        return os + "/" + architecture + (variant.isEmpty() ? "" : "/" + variant);
    }
}
