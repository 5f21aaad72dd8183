@NullMarked
package io.forkd.sandbox;

import org.jspecify.annotations.NullMarked;
