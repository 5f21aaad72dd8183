package io.forkd.http;

/** Answers a call with an error: {@code {"error": text}}. */
public final class HttpFailure extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final int status;
    private final String text;

    /**
     * An answer with this status.
     *
     * @param text a sentence for the client, which may be anybody
     */
    public HttpFailure(int status, String text) {
        // An answer, not a fault: nobody looks at its stack.
        super(text, null, false, false);
        this.status = status;
        this.text = text;
    }

    public int status() {
        return status;
    }

    public String text() {
        return text;
    }
}
