package io.forkd.daemon;

import io.forkd.http.HttpOptions;
import java.nio.file.Path;
import java.util.List;

/**
 * How the service runs.
 *
 * @param state the file of what no sandbox's folder says: the workspaces
 * @param proxyDomain of whose hosts each is a port of a sandbox
 * @param branchConcurrency how many branches may be made at a time, at least 1
 * @param userRegistries from which images of users may come
 * @param userImagesBytes how much of the disk the images of one user may take
 */
public record DaemonOptions(
        HttpOptions http,
        Path state,
        String proxyDomain,
        int branchConcurrency,
        List<String> userRegistries,
        long userImagesBytes) {}
