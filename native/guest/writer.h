/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A buffered way out that escapes JSON while it writes, so that a reply of any size needs one small buffer.
 * The first error sticks; later calls do nothing.
 */
#ifndef FORKD_GUEST_WRITER_H
#define FORKD_GUEST_WRITER_H

#include <stdbool.h>
#include <stddef.h>

/* Holds one streamed chunk (EXEC_CHUNK bytes in base64, and its frame). */
#define WRITER_SIZE 69632

struct writer {
    int fd;
    int error;    /* 0 or a negative errno */
    size_t start; /* what is before it has been sent */
    size_t used;
    char data[WRITER_SIZE];
};

void writer_init(struct writer *writer, int fd);
void writer_bytes(struct writer *writer, const void *data, size_t length);
void writer_text(struct writer *writer, const char *text);
__attribute__((format(printf, 2, 3))) void writer_format(struct writer *writer, const char *format, ...);

/*
 * The inside of a JSON string; bytes that are not UTF-8 become U+FFFD. Unless it is the `last` part, an
 * incomplete sequence at the end (at most 3 bytes) is left for the caller to give again. Returns how many
 * bytes were taken.
 */
size_t writer_escape(struct writer *writer, const void *data, size_t length, bool last);

/* A whole JSON string, with its quotes. */
void writer_string(struct writer *writer, const void *data, size_t length);

/* The same in base64. */
void writer_base64(struct writer *writer, const void *data, size_t length);

/* Writes everything out, however long it takes. Returns 0 or a negative errno. */
int writer_flush(struct writer *writer);

/* Sends what a socket takes without waiting. */
void writer_push(struct writer *writer);
bool writer_pending(const struct writer *writer);

#endif
