package io.forkd.rootfs;

import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.Platform;

/**
 * What a disk image is made of, and can be made of again, byte for byte, wherever the registry is reached.
 *
 * @param image by the digest of its manifest for the platform
 * @param builder names what this program puts in beside, and how: another version's makes another image
 */
public record Recipe(InRegistry image, Platform platform, Digest builder) {}
