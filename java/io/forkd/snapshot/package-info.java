@NullMarked
package io.forkd.snapshot;

import org.jspecify.annotations.NullMarked;
