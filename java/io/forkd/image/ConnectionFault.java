package io.forkd.image;

import java.io.IOException;
import java.net.ConnectException;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.util.Optional;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.SSLPeerUnverifiedException;

/** Why a request got no answer. */
enum ConnectionFault {
    /** It led to where we do not go. */
    UNSAFE_ADDRESS,
    UNKNOWN_HOST,
    /** Nobody listens there. */
    CLOSED,
    /** What answers there does not speak TLS. */
    NO_TLS,
    /** The other side could not show that it is who it should be: no reason to go on without TLS. */
    UNTRUSTED,
    /** The proxy wants another password before it lets TLS through. */
    PROXY_REFUSAL,
    TIMEOUT,
    BROKEN;

    static ConnectionFault of(IOException e) {
        if (e instanceof Redirects.UnsafeAddressException) {
            return UNSAFE_ADDRESS;
        }
        if (e instanceof UnknownHostException) {
            return UNKNOWN_HOST;
        }
        if (e instanceof ConnectException) {
            return CLOSED;
        }
        if (e instanceof SSLException) {
            return e instanceof SSLHandshakeException || e instanceof SSLPeerUnverifiedException ? UNTRUSTED : NO_TLS;
        }
        if (e instanceof SocketTimeoutException) {
            return TIMEOUT;
        }
        // Java tells it in no other way.
        String message = Optional.ofNullable(e.getMessage()).orElse("");
        return message.startsWith("Unable to tunnel through proxy") && message.contains(" 407")
                ? PROXY_REFUSAL
                : BROKEN;
    }

    /** Whether it may be otherwise the next time. Names that do not exist, closed ports and bad certificates stay so. */
    boolean mayPass() {
        return this == TIMEOUT || this == BROKEN;
    }

    /** Whether somebody is there, and it was their answer, or our judgement of it, that ended the request. */
    boolean isAnswer() {
        return switch (this) {
            case UNSAFE_ADDRESS, NO_TLS, UNTRUSTED, PROXY_REFUSAL -> true;
            case UNKNOWN_HOST, CLOSED, TIMEOUT, BROKEN -> false;
        };
    }

    /** Whether plain HTTP may be what is spoken there. */
    boolean speaksNoTls() {
        return this == NO_TLS || this == CLOSED;
    }
}
