package io.forkd.vmm;

import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.vmm.Native.forkd_disk;
import io.forkd.vmm.Native.forkd_error;
import io.forkd.vmm.Native.forkd_limits;
import io.forkd.vmm.Native.forkd_server_status;
import io.forkd.vmm.Native.forkd_vm_status;
import io.forkd.vmm.ServerStatus.Written;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.PointerScope;
import org.jspecify.annotations.Nullable;

/** Loads the native library, and carries values over the border. All native memory made here is the open scope's. */
final class Library {
    private static Optional<NativeFiles> loaded = Optional.empty();

    private Library() {}

    /** A native call that returns 0 or a negative errno. */
    interface Call {
        int run(forkd_error error);
    }

    /** Loads the library when it has not been; what makes a handle begins with this. */
    static synchronized NativeFiles files() {
        if (loaded.isEmpty()) {
            loaded = Optional.of(load());
        }
        return loaded.get();
    }

    /** JavaCPP's loader is told to look where the files are; left alone, it would unpack the jar a second time. */
    private static NativeFiles load() {
        NativeFiles files = NativeFiles.installed();
        System.load(files.library().toString());
        // Otherwise it reads from /proc what this process takes for each struct that it makes, dozens in a call.
        System.setProperty("org.bytedeco.javacpp.maxPhysicalBytes", "0");
        System.setProperty("org.bytedeco.javacpp.pathsFirst", "true");
        System.setProperty("org.bytedeco.javacpp.cachedir", files.glue().getParent() + "/javacpp");
        System.setProperty("java.library.path", String.valueOf(files.glue().getParent()));
        return files;
    }

    /** Throws what the call reports. */
    static void check(Call call) {
        NativeError error = attempt(call).orElse(null);
        if (error != null) {
            throw new VmmException(error);
        }
    }

    static Optional<NativeError> attempt(Call call) {
        try (PointerScope scope = new PointerScope()) {
            forkd_error error = zero(new forkd_error());
            return call.run(error) == 0 ? Optional.empty() : Optional.of(error(error));
        }
    }

    /** JavaCPP leaves plain structs as the allocator gave them. */
    static <P extends Pointer> P zero(P struct) {
        struct.zero();
        return struct;
    }

    static BytePointer text(String value) {
        return new BytePointer(value, StandardCharsets.UTF_8);
    }

    static BytePointer text(Path value) {
        return text(value.toString());
    }

    /** An array of strings; null, which C takes for none, when it is empty. */
    @Nullable
    static PointerPointer<BytePointer> texts(List<Path> paths) {
        return paths.isEmpty()
                ? null
                : new PointerPointer<>(paths.stream().map(Library::text).toArray(BytePointer[]::new));
    }

    static forkd_disk disks(List<Disk> disks) {
        forkd_disk array = new forkd_disk(Math.max(1, disks.size()));
        for (int i = 0; i < disks.size(); i++) {
            Disk disk = disks.get(i);
            forkd_disk each = zero(array.getPointer(i));
            each.path(text(disk.image())).mode(mode(disk.mode()));
            each.layer_paths(texts(disk.layers())).layer_count(disk.layers().size());
        }
        return array;
    }

    /** What is not said stays as it is, which is 0: the default, or what the parent has. */
    static void put(Limits limits, forkd_limits into) {
        limits.get(Limit.CONSOLE).ifPresent(kib -> into.console_bytes(bytes(kib, 10)));
        limits.get(Limit.DISK).ifPresent(mib -> into.disk_bytes(orUnlimited(bytes(mib, 20))));
        limits.get(Limit.DISK_BYTES).ifPresent(rate -> into.disk_bytes_per_second(orUnlimited(rate)));
        limits.get(Limit.DISK_REQUESTS).ifPresent(rate -> into.disk_requests_per_second(orUnlimited(rate)));
        limits.get(Limit.NET_BYTES).ifPresent(rate -> into.net_bytes_per_second(orUnlimited(rate)));
        limits.get(Limit.VSOCK_CONNECTIONS).ifPresent(count -> into.vsock_connections(Math.toIntExact(count)));
        limits.get(Limit.VSOCK_BUFFER).ifPresent(mib -> into.vsock_buffer_bytes(bytes(mib, 20)));
    }

    private static long bytes(long units, int shift) {
        return units << shift;
    }

    /** FORKD_UNLIMITED, which has no sign. */
    private static long orUnlimited(long value) {
        return value == 0 ? -1 : value;
    }

    static VmStatus status(forkd_vm_status status) {
        VmStatus.End end = end(status.end());
        return new VmStatus(
                phase(status.phase()),
                end,
                status.pid(),
                status.start_time(),
                status.host_full() != 0,
                status.disk_full() != 0,
                micros(status.fork_us()),
                micros(status.ready_us()),
                end == VmStatus.End.ERROR ? Optional.of(error(status.error())) : Optional.empty());
    }

    static ServerStatus status(forkd_server_status status) {
        Written written = written(status.write_state());
        return new ServerStatus(
                status.pid(),
                written,
                status.child_count(),
                status.parked_count(),
                written == Written.FAILED ? Optional.of(error(status.error())) : Optional.empty());
    }

    private static Written written(int value) {
        return switch (value) {
            case Native.FORKD_WRITTEN -> Written.DONE;
            case Native.FORKD_WRITING -> Written.UNDER_WAY;
            case Native.FORKD_WRITE_FAILED -> Written.FAILED;
            default -> throw new IllegalStateException("libforkd reports the write state " + value);
        };
    }

    private static int mode(Disk.Mode mode) {
        return switch (mode) {
            case PRIVATE -> Native.FORKD_DISK_PRIVATE;
            case READ_ONLY -> Native.FORKD_DISK_READ_ONLY;
            case SHARED -> Native.FORKD_DISK_SHARED;
        };
    }

    private static VmStatus.Phase phase(int value) {
        return switch (value) {
            case Native.FORKD_VM_STARTING -> VmStatus.Phase.STARTING;
            case Native.FORKD_VM_READY -> VmStatus.Phase.READY;
            case Native.FORKD_VM_ENDED -> VmStatus.Phase.ENDED;
            default -> throw new IllegalStateException("libforkd reports the phase " + value);
        };
    }

    private static VmStatus.End end(int value) {
        return switch (value) {
            case Native.FORKD_END_NONE -> VmStatus.End.NONE;
            case Native.FORKD_END_KILLED -> VmStatus.End.KILLED;
            case Native.FORKD_END_POWER_OFF -> VmStatus.End.POWER_OFF;
            case Native.FORKD_END_RESET -> VmStatus.End.RESET;
            case Native.FORKD_END_CRASH -> VmStatus.End.CRASH;
            case Native.FORKD_END_ERROR -> VmStatus.End.ERROR;
            default -> throw new IllegalStateException("libforkd reports the end " + value);
        };
    }

    static Duration micros(long value) {
        return Duration.ofNanos(value * 1000);
    }

    private static NativeError error(forkd_error error) {
        return new NativeError(error.code(), string(error.operation()), string(error.object()), string(error.text()));
    }

    private static String string(BytePointer value) {
        return value.getString(StandardCharsets.UTF_8);
    }
}
