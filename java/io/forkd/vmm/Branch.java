package io.forkd.vmm;

import java.time.Duration;

/**
 * The other side of a VM's fork(2).
 *
 * @param pause how long the guest stood still
 * @param server holds everything of that instant, gives children, and is being written to disk
 */
public record Branch(Duration pause, ForkServer server) {}
