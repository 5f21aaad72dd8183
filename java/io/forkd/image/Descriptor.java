package io.forkd.image;

import java.util.Optional;

/** Names bytes: what they are, what they hash to, how many they are, and for which platform, if that matters. */
record Descriptor(String mediaType, Digest digest, long size, Optional<Platform> platform, Optional<String> name) {}
