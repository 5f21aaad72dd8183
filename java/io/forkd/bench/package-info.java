/** Measurements of this machine and a snapshot of its user. */
@NullMarked
package io.forkd.bench;

import org.jspecify.annotations.NullMarked;
