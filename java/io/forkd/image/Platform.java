package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.Locale;
import java.util.Map;

/** What an image was built for, such as {@code linux/amd64} or {@code linux/arm/v7}. */
public record Platform(String os, String architecture, String variant) {
    private static final Map<String, String> GO_NAMES =
            Map.of("x86_64", "amd64", "aarch64", "arm64", "i386", "386", "i686", "386");

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

    /** Whether an image for {@code offered} can be taken where this platform is asked for. */
    boolean accepts(Platform offered) {
        return os.equals(offered.os)
                && architecture.equals(offered.architecture)
                && (variant.isEmpty() || offered.variant.isEmpty() || variant.equals(offered.variant));
    }

    @Override
    public String toString() {
        return os + "/" + architecture + (variant.isEmpty() ? "" : "/" + variant);
    }
}
