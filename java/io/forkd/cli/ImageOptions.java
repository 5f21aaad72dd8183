package io.forkd.cli;

import io.forkd.image.Platform;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsCache.Request;
import io.forkd.rootfs.RootfsOptions;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ObjectNode;

/** What to make of a container image; shared by the verbs that take one. */
final class ImageOptions {
    @Option(
            names = "--extra",
            paramLabel = "PKG",
            description = "A package to install into the image, by its own package manager; repeatable.")
    List<String> extra = List.of();

    @Option(
            names = "--size-mib",
            paramLabel = "MIB",
            defaultValue = "1536",
            description = "Size of the disk image. Default: ${DEFAULT-VALUE}.")
    int sizeMib;

    @Option(
            names = "--platform",
            paramLabel = "OS/ARCH[/VARIANT]",
            description = "The platform to take of an image that is there for several, such as linux/amd64/v3. Default:"
                    + " this machine's, for every processor of the kind.")
    Optional<String> platform = Optional.empty();

    @Mixin
    RegistryOptions registry = new RegistryOptions();

    @Mixin
    CacheCommand.Place place = new CacheCommand.Place();

    Request request(String image) {
        return new Request(image, platform.map(Platform::parse).orElseGet(Platform::host), registry.reach(), options());
    }

    private RootfsOptions options() {
        MachineOptions.requireRange("--size-mib", sizeMib, RootfsOptions.LEAST_MIB, RootfsOptions.MOST_MIB);
        return new RootfsOptions(sizeMib, extra);
    }

    /** As a daemon is asked for it, which has its own cache. */
    void put(ObjectNode body) {
        options(); // What is wrong is wrong here already.
        body.put("size_mib", sizeMib);
        platform.ifPresent(text -> body.put("platform", text));
        if (registry.insecure) {
            body.put("insecure_registry", true);
        }
        if (!extra.isEmpty()) {
            extra.forEach(body.putArray("packages")::add);
        }
    }

    RootfsCache cache(Shell shell) {
        return place.open(shell);
    }
}
