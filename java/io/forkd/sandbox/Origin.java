package io.forkd.sandbox;

import java.time.Instant;

/** One snapshot, and no other that has or had its tag. */
public record Origin(String tag, Instant createdAt) {}
