package io.forkd.vmm;

import io.forkd.ForkdException;

/** A call into the native library failed. */
public final class VmmException extends ForkdException {
    private static final long serialVersionUID = 1;
    private final transient NativeError error;

    public VmmException(NativeError error) {
        super(kind(error.code()), error.sentence());
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
}
