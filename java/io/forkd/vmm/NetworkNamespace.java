package io.forkd.vmm;

import java.nio.file.Path;

/** Network namespaces of this host. */
public final class NetworkNamespace {
    private NetworkNamespace() {}

    /** From now on this thread, and no other, makes its sockets in there; for one that ends soon. */
    public static void enter(Path path) {
        Library.files();
        Library.check(error -> Native.forkd_netns_enter(path.toString(), error));
    }
}
