/**
 * HTTP for the daemon: listeners, TLS, who is asking, routes, bodies, errors, audit and metrics. It knows nothing of
 * sandboxes: what is served is a table of {@link io.forkd.http.Routes routes} that somebody else makes.
 */
@NullMarked
package io.forkd.http;

import org.jspecify.annotations.NullMarked;
