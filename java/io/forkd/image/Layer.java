package io.forkd.image;

import java.io.IOException;
import java.io.InputStream;

/** A layer of an image: a tar archive, compressed or not. */
public interface Layer {
    /** What the archive hashes to when it is not compressed. The reader has to check it. */
    Digest content();

    /** For people: what names the layer where it came from. */
    String name();

    /** Begins to fetch it, if it is not here. */
    void fetch();

    /** Waits until it is here. */
    void await();

    /** The file as it lies there; waits until it is here. */
    InputStream open() throws IOException;

    /** Its content turned out to be damaged: a copy of ours goes, so that it is fetched anew. */
    void discard();
}
