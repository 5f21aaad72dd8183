package io.forkd.daemon.e2b;

import java.util.Optional;

/**
 * What a sandbox is to those that ask its daemon.
 *
 * @param token that they have to send; empty when everybody is served
 */
record Profile(Optional<String> token, Defaults defaults) {}
