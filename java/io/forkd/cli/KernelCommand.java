package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Trees;
import io.forkd.kernel.GuestKernel;
import io.forkd.kernel.KernelInstaller;
import io.forkd.kernel.KernelInstaller.Installed;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

@Command(name = "kernel", description = "Guest kernels.", synopsisSubcommandLabel = "install")
final class KernelCommand implements Runnable {
    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it before run
    CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "kernel needs a verb: install");
    }

    /** {@code forkd kernel install}. */
    @Command(
            name = "install",
            description = "Makes a guest kernel of the distribution's kernel package, which is downloaded, not"
                    + " installed: takes vmlinux out of it, and builds an initrd with the modules that a guest needs"
                    + " and forkd's init.",
            sortOptions = false)
    static final class Install implements Callable<Integer> {
        private final Shell shell;

        @Option(
                names = "--package",
                paramLabel = "NAME",
                description = "The package. Default: linux-image-cloud-amd64, from backports where they are"
                        + " configured; on Ubuntu linux-image-virtual.")
        Optional<String> packageName = Optional.empty();

        @Option(
                names = "--deb",
                paramLabel = "FILE",
                description = "A package file instead; repeatable, for modules in a package of their own.")
        List<Path> files = List.of();

        @Option(
                names = "--output",
                paramLabel = "DIR",
                description = "Where to put vmlinux and initrd.img. Default: /var/lib/forkd/kernels for root, else"
                        + " kernels/ in the data folder.")
        Optional<Path> output = Optional.empty();

        @Option(names = "--json", description = "Print the result as JSON.")
        boolean json;

        Install(Shell shell) {
            this.shell = shell;
        }

        @Override
        public Integer call() {
            if (packageName.isPresent() && !files.isEmpty()) {
                throw new ForkdException(Kind.USAGE, "--package and --deb exclude each other");
            }
            KernelInstaller installer = new KernelInstaller(
                    output.orElseGet(this::defaultOutput), shell.engine().guestBinary(), shell::step);
            Installed installed =
                    files.isEmpty() ? installer.fromDistribution(packageName) : installer.fromFiles(files);
            shell.clear();
            if (json) {
                shell.print(Shell.json()
                        .put("version", installed.version())
                        .put("kernel", installed.vmlinux().toString())
                        .put("initrd", installed.initrd().toString()));
            } else {
                shell.print("version: " + installed.version());
                shell.print("kernel:  " + installed.vmlinux());
                shell.print("initrd:  " + installed.initrd());
                shell.note("Modules in the initrd: " + String.join(" ", installed.modules()));
            }
            return 0;
        }

        private Path defaultOutput() {
            return Trees.ourUid() == 0
                    ? GuestKernel.SYSTEM_DIRECTORY
                    : GuestKernel.userDirectory(shell.engine().dataDirectory());
        }
    }
}
