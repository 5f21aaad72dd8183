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

    /** Whether it may be asked by who may change nothing, when its method is GET. */
    default boolean isForReaders() {
        return true;
    }

    /** How its callers are to be spoken to. */
    default Dialect dialect() {
        return Dialect.V1;
    }

    /** The same for users, too, who speak otherwise. */
    static Handler forUsers(Handler handler, Dialect dialect) {
        return new Wrapped(handler, true, handler.isForReaders(), dialect);
    }

    /** For users, as {@link #forUsers}, and not for those who may only look, whatever its method is. */
    static Handler notForReaders(Handler handler) {
        return forUsers(handler, false);
    }

    /** The same for users, too: it looks whose the things are that it is asked about. */
    static Handler forUsers(Handler handler) {
        return forUsers(handler, handler.isForReaders());
    }

    private static Handler forUsers(Handler handler, boolean forReaders) {
        return new Wrapped(handler, true, forReaders, handler.dialect());
    }

    /** One that is for others. */
    record Wrapped(Handler handler, boolean isForUsers, boolean isForReaders, Dialect dialect) implements Handler {
        @Override
        public Response handle(HttpCall call) throws Exception {
            return handler.handle(call);
        }
    }
}
