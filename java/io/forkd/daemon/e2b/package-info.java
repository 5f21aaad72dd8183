/** E2B's interface, for its own clients: the control plane, the daemon of each sandbox, and sandboxes' ports. */
@NullMarked
package io.forkd.daemon.e2b;

import org.jspecify.annotations.NullMarked;
