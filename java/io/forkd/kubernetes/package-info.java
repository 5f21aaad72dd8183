/** forkd on Kubernetes, as one program: docs/kubernetes.md. */
@NullMarked
package io.forkd.kubernetes;

import org.jspecify.annotations.NullMarked;
