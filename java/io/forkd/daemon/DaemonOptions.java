package io.forkd.daemon;

import io.forkd.http.HttpOptions;
import java.nio.file.Path;

/**
 * How the service runs.
 *
 * @param state the file of what no sandbox's folder says: the workspaces
 * @param branchConcurrency how many branches may be made at a time, at least 1
 */
public record DaemonOptions(HttpOptions http, Path state, int branchConcurrency) {}
