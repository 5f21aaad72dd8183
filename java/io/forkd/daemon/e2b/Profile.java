package io.forkd.daemon.e2b;

import java.util.Map;
import java.util.Optional;

/**
 * What a sandbox is to those that ask its daemon.
 *
 * @param token that they have to send; empty when everybody is served
 * @param environment of each program that is run in it
 * @param user whose programs and files those are of which nobody says so, if there is one; otherwise root's
 * @param directory that relative paths begin at; empty: the user's home
 */
record Profile(Optional<String> token, Map<String, String> environment, String user, Optional<String> directory) {
    Profile {
        environment = Map.copyOf(environment);
    }
}
