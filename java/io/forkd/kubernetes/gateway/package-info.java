/** REST v1 and the interface of E2B for all sandboxes of a cluster. */
@NullMarked
package io.forkd.kubernetes.gateway;

import org.jspecify.annotations.NullMarked;
