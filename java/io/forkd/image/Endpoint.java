package io.forkd.image;

import io.forkd.image.ImageReference.InRegistry;
import java.net.URI;
import java.util.List;

/** Where a repository is spoken to. Whether its registry speaks TLS is found out by trying, where it need not. */
final class Endpoint {
    private final InRegistry image;
    private final List<String> schemes;
    private volatile int scheme;
    private volatile boolean known;

    /** @param insecure whether plain HTTP is spoken to a registry that is not on this machine, too */
    Endpoint(InRegistry image, boolean insecure) {
        this.image = image;
        // What is most likely comes first: the other is tried when the answer, or the lack of one, tells us to.
        if (image.isLoopback()) {
            this.schemes = List.of("http", "https");
        } else {
            this.schemes = insecure ? List.of("https", "http") : List.of("https");
        }
    }

    boolean mayBePlain() {
        return schemes.contains("http");
    }

    /** What a path of the protocol follows. */
    URI base() {
        return URI.create(schemes.get(scheme) + "://" + image.registry() + "/v2/" + image.repository() + "/");
    }

    /** It answered well, so this is how it is spoken to. */
    void confirm() {
        known = true;
    }

    /** Goes over to the scheme after the one that was tried, unless the registry is known to speak that. */
    synchronized boolean leave(URI tried) {
        int which = schemes.indexOf(tried.getScheme());
        if (!known && scheme == which && which + 1 < schemes.size()) {
            scheme = which + 1;
        }
        return scheme != which;
    }
}
