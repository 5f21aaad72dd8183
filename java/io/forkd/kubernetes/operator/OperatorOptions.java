package io.forkd.kubernetes.operator;

import io.forkd.http.HttpOptions;
import java.time.Duration;
import java.util.Optional;

/**
 * How the operator is to be.
 *
 * @param namespace where reservations and the lease are
 * @param reservationImage of the Pods that reserve memory
 * @param priorityClass of these
 * @param nodeGrace how long a node may not be ready before what ran there counts as lost
 * @param leaseDuration how long a leader that is silent stays it
 * @param threads how many resources of a kind are looked at at once
 * @param http where metrics are
 */
public record OperatorOptions(
        String namespace,
        String reservationImage,
        String priorityClass,
        Duration nodeGrace,
        Duration leaseDuration,
        int threads,
        Optional<HttpOptions> http) {}
