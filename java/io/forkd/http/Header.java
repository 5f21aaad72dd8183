package io.forkd.http;

/** A field of the head of a request or of an answer; names are the same in whatever case. */
public record Header(String name, String value) {}
