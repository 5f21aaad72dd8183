package io.forkd.image;

import io.forkd.ForkdException;

/** The registry did not answer, or not as it would when it is well. */
final class NoAnswerException extends ForkdException {
    private static final long serialVersionUID = 1;

    NoAnswerException(ForkdException why) {
        super(why.kind(), why.sentence(), why.remedy());
    }
}
