package io.forkd.http;

import java.util.Optional;

/** Answers a call with an error: {@code {"error": text}}. */
public final class HttpFailure extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final int status;
    private final String text;
    private final String code;

    /**
     * An answer with this status.
     *
     * @param text a sentence for the client, which may be anybody
     */
    public HttpFailure(int status, String text) {
        this(status, text, Optional.empty());
    }

    /**
     * The same.
     *
     * @param code what it is for a program, as in {@code ENOENT}
     */
    public HttpFailure(int status, String text, Optional<String> code) {
        // An answer, not a fault: nobody looks at its stack.
        super(text, null, false, false);
        this.status = status;
        this.text = text;
        this.code = code.orElse("");
    }

    public int status() {
        return status;
    }

    public String text() {
        return text;
    }

    public Optional<String> code() {
        return Optional.of(code).filter(each -> !each.isEmpty());
    }
}
