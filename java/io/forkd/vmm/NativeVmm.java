package io.forkd.vmm;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.vmm.Native.forkd_boot_options;
import io.forkd.vmm.Native.forkd_server;
import io.forkd.vmm.Native.forkd_server_options;
import io.forkd.vmm.Native.forkd_vm;
import io.forkd.vmm.Native.forkd_watch;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.PointerScope;

/** The monitor of libforkd, which is loaded when it is first asked for something. */
public final class NativeVmm implements Vmm {
    @Override
    public String version() {
        return NativeFiles.installed().version();
    }

    @Override
    public Vm boot(BootOptions options) {
        NativeFiles files = Library.files();
        forkd_vm handle = new forkd_vm();
        try (PointerScope scope = new PointerScope()) {
            forkd_boot_options o = Library.zero(new forkd_boot_options());
            o.vmm_path(Library.text(files.vmm())).kernel_path(Library.text(options.kernel()));
            options.initrd().ifPresent(initrd -> o.initrd_path(Library.text(initrd)));
            o.command_line(Library.text(options.commandLine()));
            o.memory_bytes(options.memoryBytes()).vcpu_count(options.vcpus());
            o.disk_count(options.disks().size()).disks(Library.disks(options.disks()));
            options.tap().ifPresent(tap -> o.tap_name(Library.text(tap)));
            o.console_path(Library.text(options.console())).vsock_path(Library.text(options.vsock()));
            Library.put(options.limits(), o.limits());
            options.cgroup().ifPresent(cgroup -> o.cgroup_path(Library.text(cgroup)));
            Library.attempt(error -> Native.forkd_vm_boot(handle, o, error)).ifPresent(error -> {
                // The VM's process is handed descriptors, and knows no paths.
                throw new VmmException(
                        error.object().equals("kernel")
                                ? error.about(options.kernel().toString())
                                : error);
            });
        }
        return new NativeVm(handle);
    }

    @Override
    public Vm attach(Path control) {
        Library.files();
        forkd_vm handle = new forkd_vm();
        Library.check(error -> Native.forkd_vm_attach(handle, control.toString(), error));
        return new NativeVm(handle);
    }

    @Override
    public Optional<Vm> awaitAny(List<Vm> vms, Duration timeout) {
        try (PointerScope scope = new PointerScope()) {
            PointerPointer<forkd_vm> handles = new PointerPointer<>(vms.size());
            for (int i = 0; i < vms.size(); i++) {
                handles.put(i, ((NativeVm) vms.get(i)).handle());
            }
            IntPointer index = new IntPointer(1);
            boolean known = NativeVm.inTime(Library.attempt(
                    e -> Native.forkd_vm_wait_any(handles, vms.size(), Math.toIntExact(timeout.toMillis()), index, e)));
            return known ? Optional.of(vms.get(index.get())) : Optional.empty();
        }
    }

    @Override
    public boolean kill(int pid, long startTime) {
        Library.files();
        Optional<NativeError> error = Library.attempt(e -> Native.forkd_process_kill(pid, startTime, e));
        if (error.isPresent() && error.get().code() != NativeError.ESRCH) {
            throw new VmmException(error.get());
        }
        return error.isEmpty();
    }

    @Override
    public ProcessWatch watch() {
        Library.files();
        forkd_watch handle = new forkd_watch();
        Library.check(error -> Native.forkd_watch_new(handle, error));
        return new NativeWatch(handle);
    }

    @Override
    public ForkServer serve(ServerOptions options) {
        NativeFiles files = Library.files();
        forkd_server handle = new forkd_server();
        try (PointerScope scope = new PointerScope()) {
            forkd_server_options o = Library.zero(new forkd_server_options());
            o.vmm_path(Library.text(files.vmm()));
            o.memory_path(Library.text(options.memory())).vmstate_path(Library.text(options.vmstate()));
            o.disk_count(options.disks().size()).disks(Library.disks(options.disks()));
            o.parked_count(options.parked());
            options.control()
                    .ifPresent(control -> o.control_path(Library.text(control))
                            .idle_timeout_ms(Math.toIntExact(options.idle().toMillis())));
            options.workingSet().ifPresent(file -> o.working_set_path(Library.text(file)));
            o.flags(options.learn() ? Native.FORKD_LEARN_WORKING_SET : 0);
            Library.check(error -> Native.forkd_server_start(handle, o, error));
        }
        return new NativeForkServer(handle);
    }

    @Override
    public ForkServer attachServer(Path control) {
        Library.files();
        forkd_server handle = new forkd_server();
        Library.check(error -> Native.forkd_server_attach(handle, control.toString(), error));
        return new NativeForkServer(handle);
    }

    @Override
    public void flattenMemory(Path base, List<Path> layers, Path out) {
        Library.files();
        try (PointerScope scope = new PointerScope()) {
            Library.check(error -> Native.forkd_memory_flatten(
                    Library.text(base), Library.texts(layers), layers.size(), Library.text(out), error));
        }
    }

    @Override
    public void requireMachine(Path vmstate) {
        try {
            Process check = new ProcessBuilder(
                            NativeFiles.installed().vmm().toString(), "--requirements", vmstate.toString())
                    .redirectErrorStream(true)
                    .start();
            check.getOutputStream().close();
            String said = new String(check.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
            if (check.waitFor() != 0) {
                throw new ForkdException(Kind.UNSUPPORTED, said);
            }
        } catch (IOException e) {
            throw ForkdException.of("start " + NativeFiles.installed().vmm(), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    @Override
    public List<String> networkHelper() {
        return List.of(NativeFiles.installed().net().toString());
    }

    @Override
    public void flattenDisk(Disk disk, Path out) {
        Library.files();
        try (PointerScope scope = new PointerScope()) {
            Library.check(error -> Native.forkd_disk_flatten(Library.disks(List.of(disk)), Library.text(out), error));
        }
    }

    @Override
    public boolean enableVerity(Path file) {
        Library.files();
        return isThere(
                Library.attempt(error -> Native.forkd_verity_enable(Library.text(file), error)), NativeError.ENOTSUP);
    }

    @Override
    public Optional<String> verity(Path file) {
        Library.files();
        byte[] digest = new byte[Native.FORKD_VERITY_DIGEST_SIZE];
        boolean there = isThere(
                Library.attempt(error -> Native.forkd_verity_measure(Library.text(file), digest, error)),
                NativeError.ENODATA);
        return there
                ? Optional.of(new String(digest, 0, digest.length - 1, StandardCharsets.US_ASCII))
                : Optional.empty();
    }

    private static boolean isThere(Optional<NativeError> error, int none) {
        if (error.filter(each -> each.code() != none).isPresent()) {
            throw new VmmException(error.get());
        }
        return error.isEmpty();
    }
}
