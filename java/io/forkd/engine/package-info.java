@NullMarked
package io.forkd.engine;

import org.jspecify.annotations.NullMarked;
