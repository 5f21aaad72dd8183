package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.InputStream;

/** The files that an image lies in, by names. */
interface NamedFiles {
    InputStream open(String name) throws IOException;

    /** For people: where these files are. */
    String place();

    /** A document, which is small. */
    default byte[] read(String name) {
        try (InputStream in = open(name)) {
            byte[] bytes = in.readNBytes(Documents.MAX_BYTES + 1);
            if (bytes.length > Documents.MAX_BYTES) {
                throw new ForkdException(Kind.DAMAGED, name + " in " + place() + " is larger than 8 MiB");
            }
            return bytes;
        } catch (IOException e) {
            throw ForkdException.of("read " + name + " in " + place(), e);
        }
    }

    default byte[] read(String name, Digest digest) {
        byte[] bytes = read(name);
        if (!digest.matches(bytes)) {
            throw new ForkdException(Kind.DAMAGED, name + " in " + place() + " does not hash to its name");
        }
        return bytes;
    }
}
