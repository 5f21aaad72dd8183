package io.forkd.daemon;

import io.forkd.engine.Engine;
import io.forkd.engine.ImageRequest;
import io.forkd.engine.ImageRequest.ParentNetwork;
import io.forkd.engine.SnapshotRequest;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.image.ImageReference;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.Platform;
import io.forkd.image.Reach;
import io.forkd.network.PublicAddresses;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsOptions;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;

/** Container images that callers have guests made of: which those may be, and where they are kept. */
public final class Pulls {
    /** As much as a sandbox may write by default. */
    private static final int MOST_DISK_MIB_OF_USERS = 10_240;

    private final Engine engine;
    private final List<String> userRegistries;
    private final long userImagesBytes;

    Pulls(Engine engine, DaemonOptions options) {
        this.engine = engine;
        this.userRegistries = List.copyOf(options.userRegistries());
        this.userImagesBytes = options.userImagesBytes();
    }

    /** How large a disk may be that is made of one. */
    public static int mostMib(Caller caller) {
        return caller.owner().isPresent() ? MOST_DISK_MIB_OF_USERS : RootfsOptions.MOST_MIB;
    }

    /** What is to be pulled and made a disk; it is not looked at yet whether it may be. */
    public RootfsCache.Request image(
            Caller caller, String reference, Platform platform, boolean plain, RootfsOptions options) {
        return new RootfsCache.Request(
                reference,
                platform,
                new Reach(
                        plain, caller.owner().map(user -> new Reach.Within(userRegistries, PublicAddresses::contains))),
                options);
    }

    /**
     * A user reaches this host's files and networks by an image as little as by a sandbox.
     *
     * @throws HttpFailure 403 when it is not for the caller
     * @throws io.forkd.ForkdException when it names no image
     */
    public void requireMayPull(Caller caller, RootfsCache.Request image) {
        ImageReference reference = ImageReference.parse(image.reference());
        if (caller.owner().isEmpty()) {
            return;
        }
        if (!(reference instanceof InRegistry) || !userRegistries.contains(registry(reference))) {
            throw new HttpFailure(
                    403, "users' images come from " + String.join(", ", userRegistries) + ", and from nowhere else");
        }
        if (image.reach().plain()) {
            throw new HttpFailure(403, "only administrators give the field insecure_registry");
        }
    }

    /** The host of an image's registry, as people write it. */
    public static String registry(ImageReference reference) {
        return reference.toString().replaceFirst("/.*", "");
    }

    /**
     * What a user has pulled is apart from what is there for others, and without their credentials: what comes from a
     * private registry is not for everybody who may ask this daemon, and nobody else has no room for it.
     */
    public ImageRequest request(Caller caller, RootfsCache.Request image, SnapshotRequest parent) {
        Optional<String> user = caller.owner();
        Path cache = engine.imageCache();
        return new ImageRequest(
                image,
                user.map(name -> cache.resolve("users").resolve(name)).orElse(cache),
                user.map(name -> userImagesBytes),
                user.isPresent() ? proxies(engine.environment()) : engine.environment(),
                user.isPresent() ? ParentNetwork.OWN : ParentNetwork.USUAL,
                parent);
    }

    private static Map<String, String> proxies(Map<String, String> environment) {
        return environment.entrySet().stream()
                .filter(variable -> variable.getKey().toLowerCase(Locale.ROOT).endsWith("_proxy")
                        || variable.getKey().startsWith("SSL_CERT_"))
                .collect(Collectors.toMap(Map.Entry::getKey, Map.Entry::getValue));
    }
}
