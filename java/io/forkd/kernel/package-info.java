@NullMarked
package io.forkd.kernel;

import org.jspecify.annotations.NullMarked;
