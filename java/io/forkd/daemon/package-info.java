/** The service: REST v1 on the engine. */
@NullMarked
package io.forkd.daemon;

import org.jspecify.annotations.NullMarked;
