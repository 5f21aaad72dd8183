package io.forkd.agent;

import io.forkd.ForkdException;
import java.util.Set;

/** Why a guest's agent did not do what it was asked for. */
public abstract sealed class GuestException extends ForkdException {
    private static final long serialVersionUID = 1;

    private GuestException(Kind kind, String sentence) {
        super(kind, sentence);
    }

    /** The guest says so. */
    public static final class Refused extends GuestException {
        private static final long serialVersionUID = 1;

        private static final Set<String> MISSING = Set.of("ENOENT", "ESRCH", "ESTALE");
        private static final Set<String> THERE = Set.of("EEXIST", "EBUSY", "ENOTEMPTY");

        private final String code;

        Refused(String sentence, String code) {
            super(kind(code), sentence);
            this.code = code;
        }

        private static Kind kind(String code) {
            if (MISSING.contains(code)) {
                return Kind.NOT_FOUND;
            }
            if (THERE.contains(code)) {
                return Kind.CONFLICT;
            }
            return code.equals("ENOSYS") ? Kind.UNSUPPORTED : Kind.FAILED;
        }

        /** The name of an errno, as in {@code ENOENT}; of those of the document or any other. */
        public String code() {
            return code;
        }
    }

    /** What it says is not what the protocol lets it say. */
    public static final class Broken extends GuestException {
        private static final long serialVersionUID = 1;

        Broken(String sentence) {
            super(Kind.FAILED, sentence);
        }
    }

    /** The connection ended too early, on that side or by {@code close()} on this. */
    public static final class Lost extends GuestException {
        private static final long serialVersionUID = 1;

        Lost(String sentence) {
            super(Kind.FAILED, sentence);
        }
    }

    /** It said nothing in time. */
    public static final class Late extends GuestException {
        private static final long serialVersionUID = 1;

        Late(String sentence) {
            super(Kind.FAILED, sentence);
        }
    }

    /** Nothing listens there in the guest: of streams, its agent is older than they are. */
    public static final class Absent extends GuestException {
        private static final long serialVersionUID = 1;

        Absent(String sentence) {
            super(Kind.FAILED, sentence);
        }
    }
}
