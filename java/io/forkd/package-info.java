@NullMarked
package io.forkd;

import org.jspecify.annotations.NullMarked;
