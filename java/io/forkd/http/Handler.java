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

    /** Whether users are served, too. A route that does not say so is not theirs. */
    default boolean isForUsers() {
        return false;
    }

    /** The same for users, too: it looks whose the things are that it is asked about. */
    static Handler forUsers(Handler handler) {
        return new Handler() {
            @Override
            public Response handle(HttpCall call) throws Exception {
                return handler.handle(call);
            }

            @Override
            public boolean isForUsers() {
                return true;
            }
        };
    }
}
