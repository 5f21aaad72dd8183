package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.agent.GuestException.Refused;
import io.forkd.daemon.Failures;
import io.forkd.http.HttpFailure;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Why a call of a sandbox's daemon fails, as its clients are told. */
final class ConnectFailure extends RuntimeException {
    private static final long serialVersionUID = 1;

    private static final int DISK_FULL = 507;

    private final Code code;
    private final int status;
    private final String text;

    /** @param text a sentence for the client */
    ConnectFailure(Code code, String text) {
        this(code, code.status(), text);
    }

    private ConnectFailure(Code code, int status, String text) {
        // An answer, not a fault: nobody looks at its stack.
        super(text, null, false, false);
        this.code = code;
        this.status = status;
        this.text = text;
    }

    static ConnectFailure invalid(String text) {
        return new ConnectFailure(Code.INVALID_ARGUMENT, text);
    }

    /** @param type that a body must have, and has not */
    static ConnectFailure wrongType(String type) {
        return new ConnectFailure(
                Code.INVALID_ARGUMENT, 415, "the body must be " + type + ", and say so in its Content-Type");
    }

    /** Of whatever a guest was asked; what is no answer to a client is thrown. */
    static ConnectFailure of(RuntimeException e) {
        if (e instanceof ConnectFailure failure) {
            return failure;
        }
        if (e instanceof Refused refused) {
            Code code = code(refused.code());
            boolean full = refused.code().equals("ENOSPC") || refused.code().equals("EDQUOT");
            return new ConnectFailure(code, full ? DISK_FULL : code.status(), refused.sentence());
        }
        if (e instanceof HttpFailure http) {
            return new ConnectFailure(code(http.status()), http.status(), http.text());
        }
        if (e instanceof ForkdException known) {
            return of(Failures.ofGuest(known));
        }
        throw e;
    }

    private static Code code(String errno) {
        return switch (errno) {
            case "ENOENT", "ESRCH", "ESTALE" -> Code.NOT_FOUND;
            case "EEXIST" -> Code.ALREADY_EXISTS;
            case "EBUSY", "ENOTEMPTY", "ENOTTY" -> Code.FAILED_PRECONDITION;
            case "EACCES", "EPERM", "EROFS" -> Code.PERMISSION_DENIED;
            case "EINVAL", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG", "E2BIG", "EXDEV", "ENOEXEC" ->
                Code.INVALID_ARGUMENT;
            case "EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "ENOSPC", "EDQUOT", "EFBIG" -> Code.RESOURCE_EXHAUSTED;
            case "ENOSYS" -> Code.UNIMPLEMENTED;
            case "ETIMEDOUT" -> Code.DEADLINE_EXCEEDED;
            default -> Code.INTERNAL;
        };
    }

    private static Code code(int status) {
        return switch (status) {
            case 400, 413, 415, 422 -> Code.INVALID_ARGUMENT;
            case 401 -> Code.UNAUTHENTICATED;
            case 403 -> Code.PERMISSION_DENIED;
            case 404 -> Code.NOT_FOUND;
            case 409 -> Code.FAILED_PRECONDITION;
            case 429, 507 -> Code.RESOURCE_EXHAUSTED;
            case 501 -> Code.UNIMPLEMENTED;
            case 502, 503 -> Code.UNAVAILABLE;
            case 504 -> Code.DEADLINE_EXCEEDED;
            default -> Code.INTERNAL;
        };
    }

    Code code() {
        return code;
    }

    /** Where a failure is told by HTTP. */
    int status() {
        return status;
    }

    String text() {
        return text;
    }

    /** As Connect tells it. */
    ObjectNode json() {
        return JsonNodeFactory.instance.objectNode().put("code", code.text()).put("message", text);
    }

    /** As routes tell it that are none of Connect's. */
    ObjectNode plain() {
        return JsonNodeFactory.instance.objectNode().put("code", status).put("message", text);
    }
}
