package io.forkd.image;

import java.io.IOException;
import java.io.InputStream;
import java.util.Optional;

/**
 * A layer that lies in a file of somebody's.
 *
 * @param blob what the manifest says of the file; in some archives nothing does
 */
record FileLayer(NamedFiles files, String file, Optional<Descriptor> blob, Digest content, String name)
        implements Layer {
    @Override
    public void fetch() {}

    @Override
    public void await() {}

    @Override
    public void discard() {}

    @Override
    public InputStream open() throws IOException {
        InputStream in = files.open(file);
        return blob.isPresent() ? new CheckedFile(in, blob.get(), name) : in;
    }
}
