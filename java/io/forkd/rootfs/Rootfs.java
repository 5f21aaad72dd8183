package io.forkd.rootfs;

import io.forkd.image.Digest;
import java.nio.file.Path;

/**
 * A disk image for guests.
 *
 * @param file never changes under this name
 * @param image the container image that it was made of
 * @param cached whether it was there already
 * @param usedBytes what is in it; 0 when it was there already
 */
public record Rootfs(Path file, Digest image, boolean cached, long usedBytes) {}
