package io.forkd.vmm;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.vmm.Native.forkd_boot_options;
import io.forkd.vmm.Native.forkd_child_options;
import io.forkd.vmm.Native.forkd_server;
import io.forkd.vmm.Native.forkd_server_options;
import io.forkd.vmm.Native.forkd_vm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.bytedeco.javacpp.PointerScope;

/** VMs of a guest of our own, which any /dev/kvm runs. The guest has no agent. */
public final class TestVms implements AutoCloseable {
    private final Path directory;
    private final List<ForkServer> servers = new ArrayList<>();

    /** Takes a snapshot, in a folder of its own. */
    public TestVms(Path directory) throws IOException, InterruptedException {
        this.directory = directory;
        NativeFiles files = Library.files();
        forkd_vm handle = new forkd_vm();
        try (PointerScope scope = new PointerScope()) {
            forkd_boot_options options = Library.zero(new forkd_boot_options());
            options.vmm_path(Library.text(files.vmm())).kernel_path(Library.text(Guests.compile("ready", directory)));
            options.memory_bytes(64 << 20).vcpu_count(1).flags(Native.FORKD_NO_AGENT);
            Library.check(error -> Native.forkd_vm_boot(handle, options, error));
        }
        try (Vm vm = new NativeVm(handle)) {
            assertThat(vm.await(Duration.ofSeconds(20))).isPresent();
            vm.snapshot(directory);
        }
    }

    /** A server of the snapshot, which outlives its handle when it has a control socket. */
    public ServerStatus server(Optional<Path> control) {
        ForkServer server = new NativeForkServer(start(control));
        servers.add(server);
        return server.status();
    }

    private forkd_server start(Optional<Path> control) {
        forkd_server handle = new forkd_server();
        try (PointerScope scope = new PointerScope()) {
            forkd_server_options options = Library.zero(new forkd_server_options());
            options.vmm_path(Library.text(Library.files().vmm()));
            options.memory_path(Library.text(directory.resolve("memory.bin")));
            options.vmstate_path(Library.text(directory.resolve("vmstate")));
            control.ifPresent(path -> options.control_path(Library.text(path)).idle_timeout_ms(60_000));
            Library.check(error -> Native.forkd_server_start(handle, options, error));
        }
        return handle;
    }

    /** A child that runs by itself. */
    public VmStatus detached(Path control) throws IOException {
        Files.createDirectories(control.getParent());
        forkd_server server = start(Optional.empty());
        forkd_vm handle = new forkd_vm();
        try (PointerScope scope = new PointerScope()) {
            forkd_child_options options = Library.zero(new forkd_child_options());
            options.flags(Native.FORKD_NO_AGENT).control_path(Library.text(control));
            Library.check(error -> Native.forkd_server_fork(server, options, handle, error));
        }
        try (Vm vm = new NativeVm(handle);
                ForkServer closed = new NativeForkServer(server)) {
            return vm.await(Duration.ofSeconds(20)).orElseThrow();
        }
    }

    @Override
    public void close() {
        servers.forEach(ForkServer::close);
    }
}
