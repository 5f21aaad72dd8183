/** Decides what is to be where, and says so in resources and reservations. It speaks to the API server alone. */
@NullMarked
package io.forkd.kubernetes.operator;

import org.jspecify.annotations.NullMarked;
