package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.ImageReference.InRegistry;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.util.Map;
import java.util.Optional;

/** The OCI distribution protocol, version 1.1, for one repository: manifests, and blobs from any byte on. */
public final class RegistryClient implements AutoCloseable {
    private static final Map<String, String> ACCEPT = Map.of("Accept", String.join(", ", Documents.ACCEPTED));

    /** How often what is sent is begun anew: a session of an upload ends with the first thing that goes wrong. */
    private static final int UPLOADS = 3;

    private final InRegistry image;
    private final RegistrySession session;

    public RegistryClient(InRegistry image, Reach reach, Map<String, String> environment, Work work) {
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

    /** A manifest or an index, by tag or digest; nobody has checked that it is what a digest says. */
    public byte[] manifest(String selector) {
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

    /** Whether the repository has it. */
    public boolean has(Digest blob) {
        try {
            session.answer(new RegistrySession.Request(
                    "HEAD", "blobs/" + blob, Map.of(), "look for " + blob.brief() + " in " + image));
            return true;
        } catch (ForkdException e) {
            // One whose disk was full fails over what it has half, until that is sent again; one that is gone will say
            // so then.
            if (e.kind() == Kind.NOT_FOUND || e instanceof NoAnswerException) {
                return false;
            }
            throw e;
        }
    }

    /** Sends a blob: a session is asked for, and given all of it at once (end-4b and end-6 of the specification). */
    public void upload(Digest digest, byte[] blob) {
        String doing = "send " + digest.brief() + " to " + image;
        for (int attempt = 1; ; attempt++) {
            try {
                Answer begun = session.answer(
                        new RegistrySession.Request("POST", "blobs/uploads/", Map.of(), Optional.of(out -> {}), doing));
                String place = begun.location()
                        .orElseThrow(() -> new ForkdException(
                                Kind.FAILED, "cannot " + doing + ": the registry does not say where to"));
                session.answer(new RegistrySession.Request(
                        "PUT",
                        place + (place.contains("?") ? "&" : "?") + "digest=" + digest,
                        Map.of("Content-Type", "application/octet-stream"),
                        Optional.of(out -> out.write(blob)),
                        doing));
                return;
            } catch (ForkdException e) {
                boolean gone = e.kind() == Kind.NOT_FOUND || e instanceof NoAnswerException;
                if (!gone || attempt == UPLOADS) {
                    throw e;
                }
            }
        }
    }

    /**
     * Gives a manifest its name; what it names has to be there.
     *
     * @param selector a tag, or its digest
     */
    public void put(String selector, byte[] manifest) {
        session.answer(new RegistrySession.Request(
                "PUT",
                "manifests/" + selector,
                Map.of("Content-Type", Documents.OCI_MANIFEST),
                Optional.of(out -> out.write(manifest)),
                "send the manifest of " + image));
    }

    /** A blob's bytes from {@code offset} on; a registry that cannot begin there is skipped forward. */
    public InputStream blob(Digest digest, long offset) throws IOException {
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
