package io.forkd;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.util.Optional;

/**
 * What went wrong, said once: a kind that decides the exit status, a sentence that names the object, and, where there
 * is one, the remedy. Everything that a user may meet is thrown as this; anything else is a fault of forkd.
 */
public class ForkdException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** What a caller can tell apart. */
    public enum Kind {
        /** The request itself is wrong; it would be wrong on every machine. */
        USAGE(2),
        /** Something that was named is not there. */
        NOT_FOUND(1),
        /** Something that must not be there is, or is in use. */
        CONFLICT(1),
        /** Stored data are damaged or cannot be understood. */
        DAMAGED(1),
        /** It was tried and did not work. */
        FAILED(1),
        /** Not part of this version. */
        UNSUPPORTED(1);

        private final int exitStatus;

        Kind(int exitStatus) {
            this.exitStatus = exitStatus;
        }

        public int exitStatus() {
            return exitStatus;
        }
    }

    private final Kind kind;
    private final String sentence;
    private final transient Remedy remedy;

    private ForkdException(Kind kind, String sentence, Remedy remedy, Optional<Throwable> cause) {
        super(remedy.equals(Remedy.NONE) ? sentence : sentence + "\n" + remedy, cause.orElse(null));
        this.kind = kind;
        this.sentence = sentence;
        this.remedy = remedy;
    }

    public ForkdException(Kind kind, String sentence) {
        this(kind, sentence, Remedy.NONE, Optional.empty());
    }

    public ForkdException(Kind kind, String sentence, Remedy remedy) {
        this(kind, sentence, remedy, Optional.empty());
    }

    /** @param advice the same for everybody; may be empty */
    public ForkdException(Kind kind, String sentence, String advice) {
        this(kind, sentence, new Remedy.Advice(advice));
    }

    /** Wraps a failure of the file system or of a socket: {@code doing} says to what, as in "write /x/y". */
    public static ForkdException of(String doing, IOException cause) {
        return new ForkdException(
                cause instanceof NoSuchFileException ? Kind.NOT_FOUND : Kind.FAILED,
                "cannot " + doing + ": " + reason(cause),
                Remedy.NONE,
                Optional.of(cause));
    }

    /** The reason alone, in words: Java's own messages are often nothing but the path. */
    public static String reason(IOException cause) {
        String message = Optional.ofNullable(cause.getMessage()).orElse("");
        if (cause instanceof NoSuchFileException) {
            return "no such file or directory";
        }
        if (cause instanceof AccessDeniedException) {
            return "permission denied";
        }
        if (cause instanceof NotDirectoryException) {
            return "not a directory";
        }
        if (cause instanceof FileSystemException fileSystem) {
            String given = Optional.ofNullable(fileSystem.getReason()).orElse(message);
            return given.isEmpty() ? cause.getClass().getSimpleName() : given;
        }
        return message.isEmpty() ? cause.getClass().getSimpleName() : message;
    }

    public Kind kind() {
        return kind;
    }

    /** One sentence without a final stop. */
    public String sentence() {
        return sentence;
    }

    /** What to do about it. */
    public Remedy remedy() {
        return remedy;
    }
}
