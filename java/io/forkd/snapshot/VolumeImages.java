package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** What has to be true of volumes before a guest gets them: it could only say that a mount failed. */
public final class VolumeImages {
    private static final byte[] SQUASHFS = "hsqs".getBytes(StandardCharsets.US_ASCII);

    private VolumeImages() {}

    /**
     * Every image is there once, whatever its names, and none covers another in the guest.
     *
     * @param rootfs is none of them, as long as it is not there
     */
    public static void requireDistinct(Path rootfs, List<Volume> volumes) {
        try {
            Map<Object, String> images = new HashMap<>();
            if (Files.exists(rootfs)) {
                images.put(key(rootfs), "the root disk " + rootfs);
            }
            for (Volume volume : volumes) {
                Optional<String> other = Optional.ofNullable(
                        images.put(key(volume.hostPath()), volume.hostPath() + " on " + volume.guestPath()));
                if (other.isPresent()) {
                    throw new ForkdException(
                            Kind.USAGE,
                            "the volume " + volume.hostPath() + " on " + volume.guestPath() + " is the same image as "
                                    + other.get(),
                            "A guest has each image once. Make a link in the guest, or a copy of the image.");
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("look at the volumes", e);
        }
        for (int i = 0; i < volumes.size(); i++) {
            for (Volume earlier : volumes.subList(0, i)) {
                requireVisible(earlier, volumes.get(i));
            }
        }
    }

    private static void requireVisible(Volume earlier, Volume later) {
        Path below = Path.of(earlier.guestPath()).normalize();
        Path over = Path.of(later.guestPath()).normalize();
        if (below.equals(over)) {
            throw new ForkdException(
                    Kind.USAGE,
                    "two volumes have the guest path " + over + ": " + earlier.hostPath() + " and " + later.hostPath(),
                    "Give each a path of its own.");
        }
        if (below.startsWith(over)) {
            throw new ForkdException(
                    Kind.USAGE,
                    "the volume on " + over + " would hide the one on " + below,
                    "They are mounted in the order given: give the one on " + over + " first.");
        }
    }

    private static Object key(Path file) throws IOException {
        Path real = file.toRealPath();
        return Optional.ofNullable(
                        Files.readAttributes(real, BasicFileAttributes.class).fileKey())
                .orElse(real);
    }

    /** A guest can mount it, as far as its first bytes tell. */
    public static void requireMountable(Path image, boolean readOnly) {
        try {
            Optional<Ext4Superblock> superblock = Ext4Superblock.read(image);
            if (superblock.isEmpty()) {
                requireSquashfs(image);
                return;
            }
            long bytes = Files.size(image);
            if (superblock.get().bytes() > bytes) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        "the volume " + image + " was cut short: its file system has "
                                + superblock.get().bytes() + " bytes, and the image " + bytes,
                        "Put the whole image there.");
            }
            if (readOnly && superblock.get().needsRecovery()) {
                throw new ForkdException(
                        Kind.CONFLICT,
                        "the volume " + image + " cannot be read-only: its journal is not written back; the VM that"
                                + " wrote to it was killed, or is writing now",
                        "When no VM has it: e2fsck -p " + image + ", or attach it writable once.");
            }
        } catch (IOException e) {
            throw ForkdException.of("look at the volume " + image, e);
        }
    }

    private static void requireSquashfs(Path image) throws IOException {
        byte[] magic;
        try (var content = Files.newInputStream(image)) {
            magic = content.readNBytes(SQUASHFS.length);
        }
        if (!Arrays.equals(magic, SQUASHFS)) {
            throw new ForkdException(
                    Kind.FAILED,
                    "the volume " + image + " is no ext4 image",
                    "mke2fs -t ext4 -d FOLDER IMAGE 1G makes one with what is in FOLDER.");
        }
    }
}
