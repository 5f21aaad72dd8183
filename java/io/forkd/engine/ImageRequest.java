package io.forkd.engine;

import io.forkd.rootfs.RootfsCache;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;

/**
 * A parent whose root disk is made of a container image.
 *
 * @param image what is pulled and built
 * @param cache where that is kept, and what was there before is taken from
 * @param most how many bytes what is kept may take; empty: any
 * @param environment says where credentials of registries and proxies are
 * @param network what it is connected with while it boots
 * @param parent all else; its root disk is the one that is made
 */
public record ImageRequest(
        RootfsCache.Request image,
        Path cache,
        Optional<Long> most,
        Map<String, String> environment,
        ParentNetwork network,
        SnapshotRequest parent) {
    ImageRequest as(SnapshotTag tag) {
        return new ImageRequest(image, cache, most, environment, network, parent.as(tag));
    }

    /** The same, with credentials and proxies from elsewhere. */
    public ImageRequest with(Map<String, String> others) {
        return new ImageRequest(image, cache, most, others, network, parent);
    }

    /** Which tap device of the host a parent is connected with. */
    public enum ParentNetwork {
        /** The one that is named, or else the usual one, where that can be had; otherwise none. */
        USUAL,
        /** The usual one, where that is forkd's own, which reaches the internet and nothing else; otherwise none. */
        OWN
    }
}
