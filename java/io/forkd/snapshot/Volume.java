package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.nio.file.Path;

/** A disk image of the host that a guest mounts: {@code HOST:GUEST[:ro]}. */
public record Volume(Path hostPath, String guestPath, boolean readOnly) {
    /** vdb to vdy. */
    public static final int MAX = 24;

    public Volume {
        if (!hostPath.isAbsolute()) {
            throw wrong(hostPath + ":" + guestPath, "the host path must be absolute");
        }
        if (!guestPath.startsWith("/") || guestPath.equals("/")) {
            throw wrong(hostPath + ":" + guestPath, "the guest path must be absolute, and not /");
        }
        if (!guestPath.chars().allMatch(c -> c > ' ' && c < 0x7f && c != ',' && c != ':' && c != '"')) {
            throw wrong(
                    hostPath + ":" + guestPath,
                    "the guest path goes onto the kernel command line, which has no room for spaces, commas, colons,"
                            + " quotes or characters outside ASCII");
        }
    }

    public static Volume parse(String text) {
        String[] parts = text.split(":", -1);
        if (parts.length < 2 || parts.length > 3 || parts[0].isEmpty() || parts[1].isEmpty()) {
            throw wrong(text, "it must be HOST:GUEST or HOST:GUEST:ro");
        }
        String mode = parts.length == 3 ? parts[2] : "rw";
        if (!mode.equals("ro") && !mode.equals("rw")) {
            throw wrong(text, "'" + mode + "' is neither ro nor rw");
        }
        return new Volume(Path.of(parts[0]), parts[1], mode.equals("ro"));
    }

    private static ForkdException wrong(String text, String why) {
        return new ForkdException(Kind.USAGE, "'" + text + "' is not a volume: " + why);
    }
}
