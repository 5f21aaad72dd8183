@NullMarked
package io.forkd.agent;

import org.jspecify.annotations.NullMarked;
