/** Disk images for guests, made of the layers of container images. */
@NullMarked
package io.forkd.rootfs;

import org.jspecify.annotations.NullMarked;
