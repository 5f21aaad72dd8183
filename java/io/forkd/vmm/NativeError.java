package io.forkd.vmm;

/**
 * What the native library reported, with all its parts.
 *
 * @param code a negative errno
 * @param operation what was being done, for example {@code open} or {@code KVM_CREATE_VM}
 * @param object to what, for example a path or a section of vmstate
 * @param text the whole sentence
 */
public record NativeError(int code, String operation, String object, String text) {
    /** Numbers of Linux on x86-64, negated as the library reports them. */
    public static final int ENOENT = -2;

    public static final int ESRCH = -3;
    public static final int EBUSY = -16;
    public static final int EEXIST = -17;
    public static final int ENOSPC = -28;
    public static final int ENODATA = -61;
    public static final int EPROTO = -71;
    public static final int EBADMSG = -74;
    public static final int ENOTSUP = -95;
    public static final int ETIMEDOUT = -110;
    public static final int ECONNREFUSED = -111;

    /** The sentence, which always names the object. */
    public String sentence() {
        return object.isEmpty() || text.contains(object) ? text : text + " (" + object + ")";
    }

    NativeError about(String otherObject) {
        return new NativeError(code, operation, otherObject, text);
    }
}
