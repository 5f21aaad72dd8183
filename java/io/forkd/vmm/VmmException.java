package io.forkd.vmm;

import io.forkd.ForkdException;

/** A call into the native library failed. */
public final class VmmException extends ForkdException {
    private static final long serialVersionUID = 1;
    private final transient NativeError error;

    public VmmException(NativeError error) {
        super(kind(error.code()), error.sentence(), remedy(error));
        this.error = error;
    }

    public NativeError error() {
        return error;
    }

    /** Whether the VM or server that was to be attached to is gone. */
    public boolean nobodyThere() {
        return error.code() == NativeError.ENOENT || error.code() == NativeError.ECONNREFUSED;
    }

    private static Kind kind(int code) {
        return switch (code) {
            case NativeError.ENOENT -> Kind.NOT_FOUND;
            case NativeError.EEXIST, NativeError.EBUSY -> Kind.CONFLICT;
            case NativeError.EBADMSG -> Kind.DAMAGED;
            case NativeError.ENOTSUP -> Kind.UNSUPPORTED;
            default -> Kind.FAILED;
        };
    }

    private static String remedy(NativeError error) {
        if (!error.object().equals("/dev/kvm")) {
            return "";
        }
        return switch (error.code()) {
            case NativeError.ENOENT ->
                "Load the module (sudo modprobe kvm-intel, or kvm-amd). If that fails, switch"
                        + " virtualisation on in the firmware, or, inside a VM, nested virtualisation on its host.";
            case NativeError.EACCES -> "Join the group that may use it: sudo usermod -aG kvm $USER, then log in again.";
            default -> "";
        };
    }
}
