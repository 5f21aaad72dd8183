package io.forkd.kernel;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** A kernel that guests boot, with the initial RAM disk that goes with it, if there is one. */
public record GuestKernel(Path vmlinux, Optional<Path> initrd) {
    static final String VMLINUX = "vmlinux";
    static final String INITRD = "initrd.img";

    /** Where root puts what everybody may use. */
    public static final Path SYSTEM_DIRECTORY = Path.of("/var/lib/forkd/kernels");

    /** Where {@code forkd kernel install} of other users puts its work. */
    public static Path userDirectory(Path dataDirectory) {
        return dataDirectory.resolve("kernels");
    }

    /** The kernel that was named, else the first of the places where one may be. */
    public static GuestKernel find(Optional<Path> kernel, Optional<Path> initrd, Path dataDirectory) {
        Path vmlinux = kernel.map(given -> required(given, "the kernel")).orElseGet(() -> search(dataDirectory));
        return new GuestKernel(
                vmlinux, initrd.map(given -> required(given, "the initrd")).or(() -> beside(vmlinux)));
    }

    private static Path search(Path dataDirectory) {
        List<Path> places = List.of(
                Path.of("vmlinux-6.1.141").toAbsolutePath(),
                Path.of(VMLINUX).toAbsolutePath(),
                SYSTEM_DIRECTORY.resolve(VMLINUX),
                userDirectory(dataDirectory).resolve(VMLINUX));
        return places.stream()
                .filter(Files::isRegularFile)
                .findFirst()
                .orElseThrow(() -> new ForkdException(
                        Kind.NOT_FOUND,
                        "there is no guest kernel; looked for "
                                + String.join(
                                        ", ",
                                        places.stream().map(Path::toString).toList()),
                        Remedy.Action.INSTALL_OR_NAME_KERNEL));
    }

    private static Path required(Path given, String what) {
        if (!Files.exists(given)) {
            throw new ForkdException(Kind.NOT_FOUND, what + " " + given + " does not exist");
        }
        if (!Files.isRegularFile(given)) {
            throw new ForkdException(Kind.FAILED, what + " " + given + " is not a file");
        }
        if (!Files.isReadable(given)) {
            throw new ForkdException(Kind.FAILED, what + " " + given + " cannot be read: permission denied");
        }
        return given.toAbsolutePath().normalize();
    }

    private static Optional<Path> beside(Path vmlinux) {
        return List.of(INITRD, "initrd").stream()
                .map(vmlinux::resolveSibling)
                .filter(Files::isRegularFile)
                .findFirst();
    }
}
