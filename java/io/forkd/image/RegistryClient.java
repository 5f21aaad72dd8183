package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.ImageReference.InRegistry;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.util.Map;
import java.util.Optional;

/** What pulling needs of the OCI distribution protocol, for one repository: manifests, and blobs from any byte on. */
final class RegistryClient implements AutoCloseable {
    private static final Map<String, String> ACCEPT = Map.of("Accept", String.join(", ", Documents.ACCEPTED));

    private final InRegistry image;
    private final RegistrySession session;

    RegistryClient(InRegistry image, Reach reach, Map<String, String> environment, Work work) {
        this.image = image;
        this.session = new RegistrySession(image, reach, environment, work);
    }

    /** What a tag leads to now, if the registry says that without sending it. */
    Optional<Digest> manifestDigest(String tag) {
        Answer answer;
        try {
            answer =
                    session.answer(new RegistrySession.Request("HEAD", "manifests/" + tag, ACCEPT, "look up " + image));
        } catch (NoAnswerException e) {
            throw e;
        } catch (ForkdException e) {
            return Optional.empty(); // the answer to GET says why
        }
        try {
            return answer.header("Docker-Content-Digest").map(Digest::parse);
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    /** A manifest or an index, by tag or digest. */
    byte[] manifest(String selector) {
        String doing = "read the manifest of " + image;
        Answer answer = session.answer(new RegistrySession.Request("GET", "manifests/" + selector, ACCEPT, doing));
        try (InputStream in = answer.content()) {
            byte[] bytes = in.readNBytes(Documents.MAX_BYTES + 1);
            if (bytes.length > Documents.MAX_BYTES) {
                throw new ForkdException(Kind.FAILED, "the manifest of " + image + " is larger than 8 MiB");
            }
            return bytes;
        } catch (IOException e) {
            throw new RegistryErrors(image).unreachable(doing, e);
        }
    }

    /** Ends what waits for it. */
    @Override
    public void close() {
        session.close();
    }

    /** A blob's bytes from {@code offset} on; a registry that cannot begin there is skipped forward. */
    InputStream blob(Digest digest, long offset) throws IOException {
        Answer answer = session.answer(new RegistrySession.Request(
                "GET",
                "blobs/" + digest,
                offset > 0 ? Map.of("Range", "bytes=" + offset + "-") : Map.of(),
                "pull " + digest.brief() + " of " + image));
        InputStream in = answer.content();
        if (offset > 0 && answer.status() != HttpURLConnection.HTTP_PARTIAL) {
            in.skipNBytes(offset);
        }
        return in;
    }
}
