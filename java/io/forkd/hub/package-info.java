/** Snapshots in registries: what they are there, how they get there and back, and who has signed them. */
@NullMarked
package io.forkd.hub;

import org.jspecify.annotations.NullMarked;
