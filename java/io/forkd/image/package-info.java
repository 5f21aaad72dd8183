/** Container images: what a reference names, and how its parts get here. Nothing in here unpacks a layer. */
@NullMarked
package io.forkd.image;

import org.jspecify.annotations.NullMarked;
