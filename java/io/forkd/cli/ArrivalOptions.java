package io.forkd.cli;

import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** What a snapshot that comes from elsewhere is to be here; shared by the verbs that bring one. */
final class ArrivalOptions {
    @Option(
            names = "--tag",
            paramLabel = "TAG",
            converter = NewTagConverter.class,
            description =
                    "Name of the snapshot here. Default: the one that it had. One of several in a pack keeps its.")
    Optional<SnapshotTag> tag = Optional.empty();

    @Option(names = "--force", description = "Replace a snapshot of that name.")
    boolean force;

    @Option(
            names = "--volume",
            paramLabel = "HOST:GUEST[:ro]",
            description = "The volume of this host that the guest is to have on GUEST; once for each that it has.")
    List<String> volumes = new ArrayList<>();

    @Mixin
    CacheCommand.Place place = new CacheCommand.Place();

    List<Volume> volumes() {
        return volumes.stream().map(Volume::parse).toList();
    }
}
