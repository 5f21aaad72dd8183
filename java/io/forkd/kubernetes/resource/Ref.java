package io.forkd.kubernetes.resource;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;

/** Another resource of the same namespace. */
@JsonIgnoreProperties(ignoreUnknown = true)
public record Ref(String name) {}
