@NullMarked
package io.forkd.network;

import org.jspecify.annotations.NullMarked;
