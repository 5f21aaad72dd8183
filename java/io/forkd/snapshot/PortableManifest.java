package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.network.NetworkPolicy;
import io.forkd.network.Networks;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeSet;
import tools.jackson.databind.node.ObjectNode;

/**
 * A manifest as it goes from one host to another: with no path, no owner and no device of a host in it. Whoever receives
 * one gives it those of his own; nothing that it names is opened.
 */
public final class PortableManifest {
    /** What stands where the path of the root disk was. */
    public static final String ROOTFS = "rootfs.ext4";

    private static final String OWNER = "owner";

    private PortableManifest() {}

    /** What a snapshot of this host says to others. */
    public static Manifest of(Snapshot snapshot) {
        Manifest local = snapshot.manifest();
        List<Volume> volumes = local.volumes().stream()
                .map(volume -> new Volume(
                        Path.of("/" + volume.hostPath().getFileName()), volume.guestPath(), volume.readOnly()))
                .toList();
        List<ManifestDisk> disks = new ArrayList<>();
        for (int i = 0; i < local.disks().size(); i++) {
            ManifestDisk disk = local.disks().get(i);
            Path image = i == 0 ? Path.of(ROOTFS) : volumes.get(i - 1).hostPath();
            disks.add(new ManifestDisk(
                    image, disk.readOnly(), disk.bytes(), disk.modified(), layer(snapshot.directory(), i)));
        }
        return new Manifest(
                Path.of(Snapshot.VMSTATE),
                name(local.memory()),
                local.memoryBytes(),
                volumes,
                Path.of(ROOTFS),
                local.parent(),
                disks,
                machine(local.machine()),
                local.network(),
                local.createdAt(),
                withoutOwner(local));
    }

    /**
     * What one that came from elsewhere is on this host.
     *
     * @param directory that its files will be in, and {@code files} that they are in now
     * @param rootfs the image of its root disk
     * @param volumes those of this host that it is to have
     */
    public static Manifest at(
            Manifest carried, Path directory, Path files, Path rootfs, List<Volume> volumes, Instant now) {
        List<Volume> bound = bind(carried, volumes);
        List<ManifestDisk> disks = new ArrayList<>();
        for (int i = 0; i < carried.disks().size(); i++) {
            ManifestDisk disk = carried.disks().get(i);
            Path image = i == 0 ? rootfs : bound.get(i - 1).hostPath();
            disks.add(new ManifestDisk(image, disk.readOnly(), disk.bytes(), disk.modified(), layer(files, i)));
        }
        return new Manifest(
                directory.resolve(Snapshot.VMSTATE),
                directory.resolve(name(carried.memory())),
                carried.memoryBytes(),
                bound,
                rootfs,
                carried.parent(),
                disks,
                machine(carried.machine()),
                carried.network().map(PortableManifest::narrow),
                now,
                withoutOwner(carried));
    }

    /** Fails when one that came from elsewhere is none that {@link #of} wrote, so that its parts do not fit together. */
    public static void require(Manifest carried) {
        String memory = carried.memory().toString();
        if (!carried.vmstate().toString().equals(Snapshot.VMSTATE)) {
            throw odd("\"vmstate\" is '" + carried.vmstate() + "', and not '" + Snapshot.VMSTATE + "'");
        }
        if (!memory.equals(Snapshot.MEMORY)
                && !(memory.equals(Snapshot.MEMORY_LAYER) && carried.parent().isPresent())) {
            throw odd("\"memory\" is '" + memory + "', which is no name of its memory");
        }
        if (carried.volumes().size() > Volume.MAX) {
            throw odd("it has " + carried.volumes().size() + " volumes, and " + Volume.MAX + " are allowed");
        }
        if (carried.disks().size() != 1 + carried.volumes().size()) {
            throw odd("it has " + carried.disks().size() + " disks, which are not a root disk and "
                    + carried.volumes().size() + " volumes");
        }
        for (int i = 0; i < carried.disks().size(); i++) {
            ManifestDisk disk = carried.disks().get(i);
            String own = Snapshot.layerName(i);
            if (disk.layer().isPresent() && !disk.layer().get().file().equals(own)) {
                throw odd(
                        "the layer of disk " + i + " is '" + disk.layer().get().file() + "', and not '" + own + "'");
            }
            if (i > 0 && disk.readOnly() != carried.volumes().get(i - 1).readOnly()) {
                throw odd("disk " + i + " is another than its volume");
            }
        }
    }

    /** Which files may come with it: no snapshot has others. */
    public static Set<String> files(Manifest carried) {
        Set<String> names = new TreeSet<>(
                Set.of(Snapshot.VMSTATE, Snapshot.WORKING_SET, carried.memory().toString()));
        for (int i = 0; i < carried.disks().size(); i++) {
            names.add(Snapshot.layerName(i));
        }
        return names;
    }

    private static ForkdException odd(String why) {
        return new ForkdException(Kind.DAMAGED, "its snapshot.json cannot be used: " + why);
    }

    /** Those of the host, in the order of the guest; each has to be one that the guest may have in the old one's place. */
    private static List<Volume> bind(Manifest carried, List<Volume> given) {
        Set<String> missing = new TreeSet<>();
        List<Volume> bound = new ArrayList<>();
        for (Volume volume : carried.volumes()) {
            Optional<Volume> found = given.stream()
                    .filter(each -> each.guestPath().equals(volume.guestPath()))
                    .findFirst();
            found.ifPresentOrElse(
                    each -> bound.add(same(each, volume)),
                    () -> missing.add(volume.hostPath().getFileName() + " on " + volume.guestPath()
                            + (volume.readOnly() ? ", read-only" : "")));
        }
        if (!missing.isEmpty()) {
            throw new ForkdException(
                    Kind.USAGE,
                    "the guest has volumes that do not come along: " + String.join("; ", missing),
                    "Copy them here, with their times (cp -p, rsync -t), and say where each is.");
        }
        for (Volume volume : given) {
            if (!bound.contains(volume)) {
                throw new ForkdException(Kind.USAGE, "the guest has no volume on " + volume.guestPath());
            }
        }
        return bound;
    }

    private static Volume same(Volume given, Volume carried) {
        if (given.readOnly() != carried.readOnly()) {
            throw new ForkdException(
                    Kind.USAGE,
                    "the volume on " + carried.guestPath() + " is "
                            + (carried.readOnly()
                                    ? "read-only in the guest, and not here"
                                    : "writable in the guest, and read-only here"));
        }
        return given;
    }

    /** Fails when a volume's image is another than the guest had: it has its size, and its time if it is mounted. */
    public static void requireVolumes(Manifest here) {
        VolumeImages.requireDistinct(here.rootfs(), here.volumes());
        for (int i = 1; i < here.disks().size(); i++) {
            ManifestDisk disk = here.disks().get(i);
            OptionalLong modified = disk.modified();
            try {
                long bytes = Files.size(disk.image());
                long time = Files.getLastModifiedTime(disk.image()).toMillis();
                if (bytes != disk.bytes()) {
                    throw new ForkdException(
                            Kind.CONFLICT,
                            "the volume " + disk.image() + " has " + bytes + " bytes, and the guest's had "
                                    + disk.bytes());
                }
                if (modified.isPresent() && time != modified.getAsLong()) {
                    throw new ForkdException(
                            Kind.CONFLICT,
                            "the volume " + disk.image() + " was last written to " + Instant.ofEpochMilli(time)
                                    + ", and the one that the guest has mounted "
                                    + Instant.ofEpochMilli(modified.getAsLong()),
                            "Copy it again, with its time (cp -p, rsync -t).");
                }
            } catch (IOException e) {
                throw ForkdException.of("look at the volume " + disk.image(), e);
            }
            if (modified.isEmpty()) {
                VolumeImages.requireMountable(disk.image(), disk.readOnly());
            }
        }
    }

    /** What came from elsewhere gives its children no more than what they get when nothing is said. */
    private static NetworkPolicy narrow(NetworkPolicy carried) {
        return NetworkPolicy.INTERNET.contains(carried) ? carried : NetworkPolicy.INTERNET;
    }

    private static Machine machine(Machine machine) {
        return new Machine(
                machine.vcpus(),
                name(machine.kernel()),
                machine.initrd().map(PortableManifest::name),
                machine.commandLine(),
                machine.tap().map(name -> Networks.TAP),
                machine.limits(),
                machine.version());
    }

    private static Path name(Path path) {
        return Optional.ofNullable(path.getFileName()).orElse(path);
    }

    private static Optional<Layer> layer(Path directory, int disk) {
        Path file = directory.resolve(Snapshot.layerName(disk));
        try {
            return Files.isRegularFile(file)
                    ? Optional.of(new Layer(Snapshot.layerName(disk), Files.size(file)))
                    : Optional.empty();
        } catch (IOException e) {
            throw ForkdException.of("look at " + file, e);
        }
    }

    private static ObjectNode withoutOwner(Manifest manifest) {
        ObjectNode rest = manifest.rest().deepCopy();
        rest.remove(OWNER);
        return rest;
    }
}
