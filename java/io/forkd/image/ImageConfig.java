package io.forkd.image;

import java.util.List;

/** How programs of an image want to be started, and which layers it is made of. */
public record ImageConfig(
        List<String> environment,
        String workingDirectory,
        String user,
        List<String> entrypoint,
        List<String> command,
        Platform platform,
        List<Digest> layers) {}
