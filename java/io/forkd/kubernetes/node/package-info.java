/** The agent of one node: does on its daemon what resources assign to the node, and says what came of it. */
@NullMarked
package io.forkd.kubernetes.node;

import org.jspecify.annotations.NullMarked;
