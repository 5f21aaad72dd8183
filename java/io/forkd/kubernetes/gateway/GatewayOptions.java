package io.forkd.kubernetes.gateway;

import io.forkd.http.HttpOptions;
import java.time.Duration;

/**
 * How a gateway is to be.
 *
 * @param namespace whose sandboxes an administrator works with who names none
 * @param daemonToken by which daemons know it
 * @param patience how long a sandbox may take to run
 */
public record GatewayOptions(String namespace, String daemonToken, Duration patience, HttpOptions http) {}
