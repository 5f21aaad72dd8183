package io.forkd.kernel;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.stream.Stream;

/** Makes a guest kernel, and its initial RAM disk, of the distribution's kernel package. */
public final class KernelInstaller {
    private static final List<String> REQUIRED =
            List.of("virtio_mmio", "virtio_blk", "vmw_vsock_virtio_transport", "ext4");
    private static final List<String> OPTIONAL =
            List.of("virtio_net", "virtio_rng", "virtio_balloon", "squashfs", "overlay", "tcp_diag");

    private final Path output;
    private final Path guest;
    private final Consumer<String> progress;

    /**
     * @param output where {@code vmlinux} and {@code initrd.img} are put
     * @param guest the init and agent of guests
     */
    public KernelInstaller(Path output, Path guest, Consumer<String> progress) {
        this.output = output.toAbsolutePath().normalize();
        this.guest = guest;
        this.progress = progress;
    }

    /** What was installed; {@code modules} are in the initrd, the others are built into the kernel. */
    public record Installed(String version, Path vmlinux, Path initrd, List<String> modules) {}

    /** From the distribution: the named package, or the best of those that suit. */
    public Installed fromDistribution(Optional<String> name) {
        progress.accept("looking for a kernel package");
        Apt.Source source = Apt.find(name.map(List::of).orElseGet(Apt::defaultPackages));
        return inScratch(scratch -> {
            progress.accept("downloading " + source);
            Path downloads = Files.createDirectory(scratch.resolve("packages"));
            return install(Apt.download(source, downloads), scratch);
        });
    }

    /** From package files. */
    public Installed fromFiles(List<Path> packages) {
        for (Path file : packages) {
            if (!Files.isRegularFile(file)) {
                throw new ForkdException(Kind.NOT_FOUND, "the package " + file + " does not exist");
            }
        }
        return inScratch(scratch -> install(packages, scratch));
    }

    private interface Work {
        Installed in(Path scratch) throws IOException;
    }

    private Installed inScratch(Work work) {
        try {
            Files.createDirectories(output);
            OwnedDirectory.sweep(output, ".making-");
            try (OwnedDirectory scratch = OwnedDirectory.create(output, ".making-")) {
                return work.in(scratch.path());
            }
        } catch (IOException e) {
            throw ForkdException.of("make a guest kernel in " + output, e);
        }
    }

    private Installed install(List<Path> packages, Path scratch) throws IOException {
        Path tree = Files.createDirectory(scratch.resolve("tree"));
        for (Path file : packages) {
            progress.accept("unpacking " + file.getFileName());
            DebFile.unpack(file, tree, name -> name.startsWith("boot/vmlinuz-") || name.startsWith("lib/modules/"));
        }
        Path vmlinuz = only(tree.resolve("boot"), "a kernel (boot/vmlinuz-*)", packages);
        Path modules = only(tree.resolve("lib/modules"), "modules (lib/modules/*)", packages);

        progress.accept("taking the kernel out of " + vmlinuz.getFileName());
        byte[] vmlinux = BzImage.vmlinux(
                Files.readAllBytes(vmlinuz), vmlinuz.getFileName().toString());
        List<KernelModule> load = new ModuleTree(modules).closure(REQUIRED, OPTIONAL);
        byte[] initrd = Initramfs.of(Files.readAllBytes(guest), load);

        Path newVmlinux = scratch.resolve(GuestKernel.VMLINUX);
        Path newInitrd = scratch.resolve(GuestKernel.INITRD);
        Trees.writeNew(newVmlinux, vmlinux);
        Trees.writeNew(newInitrd, initrd);
        // Each is replaced in one step. Between the two the pair does not match, and a guest that is booted in that
        // moment fails: its modules are refused.
        Trees.rename(newInitrd, output.resolve(GuestKernel.INITRD));
        Trees.rename(newVmlinux, output.resolve(GuestKernel.VMLINUX));
        return new Installed(
                modules.getFileName().toString(),
                output.resolve(GuestKernel.VMLINUX),
                output.resolve(GuestKernel.INITRD),
                load.stream().map(KernelModule::name).toList());
    }

    private static Path only(Path directory, String what, List<Path> packages) throws IOException {
        if (Files.isDirectory(directory)) {
            try (Stream<Path> entries = Files.list(directory)) {
                List<Path> found = entries.toList();
                if (found.size() == 1) {
                    return found.get(0);
                }
            }
        }
        throw new ForkdException(Kind.FAILED, "there must be " + what + " once in " + packages);
    }
}
