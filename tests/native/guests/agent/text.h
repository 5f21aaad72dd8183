/* SPDX-License-Identifier: Apache-2.0 */
/* What a C library would have; each is a string instruction where it can be, since others are emulated one by
 * one. */
#ifndef FORKD_TESTS_GUESTS_AGENT_TEXT_H
#define FORKD_TESTS_GUESTS_AGENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);
size_t strlen(const char *text);
/* Where that byte is, or the end. */
char *scan(char *at, const char *end, char byte);
bool same(const char *a, const char *b);
/* What comes behind `start` in `text`; NULL when it does not begin so. */
const char *after(const char *text, const char *start);
/* The next number in `text`, which is moved behind it; false when there is none. Too large ones are cut. */
bool take_number(const char **text, uint32_t *out);
/* Seconds with a fraction, in milliseconds. */
bool take_seconds(const char **text, uint32_t *out);

/* Text that grows to the end of its room, and no further. */
struct text {
    char *at;
    char *end;
};

void put_bytes(struct text *text, const void *data, size_t length);
/* Its length is known when this is compiled, most often. */
static inline void put(struct text *text, const char *more)
{
    put_bytes(text, more, __builtin_strlen(more));
}
void put_number(struct text *text, int64_t number);
/* The inside of a JSON string. */
void put_escaped(struct text *text, const char *more, size_t length);
/* A JSON string. */
void put_string(struct text *text, const char *more);

void base64_prepare(void);
void put_base64(struct text *text, const uint8_t *data, size_t length);
/* In place; returns the length, or -1. */
int32_t base64_decode(char *text);

#endif
