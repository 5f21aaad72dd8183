/** The custom resources of {@code forkd.io/v1alpha1}, and how they are read and written. */
@NullMarked
package io.forkd.kubernetes.resource;

import org.jspecify.annotations.NullMarked;
