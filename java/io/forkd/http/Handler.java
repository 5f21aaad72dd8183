package io.forkd.http;

/** Answers the calls of one route. It may block; it runs on a thread of its own. */
@FunctionalInterface
public interface Handler {
    /**
     * Answers one call.
     *
     * @throws HttpFailure to answer with an error
     * @throws io.forkd.ForkdException answered with what the server's mapping makes of it
     * @throws Exception anything else is a fault: it is logged under a number, and the client gets 500 with that number
     */
    Response handle(HttpCall call) throws Exception;
}
