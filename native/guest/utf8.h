/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_UTF8_H
#define FORKD_GUEST_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * Looks at the sequence that starts at `text`. Returns its length (1 to 4) when it is valid; 0 when the text
 * ends before it is complete; otherwise minus the number of bytes that one U+FFFD stands for (the "maximal
 * subpart" of Unicode 3.9, which is what Python's decoder replaces).
 */
int utf8_sequence(const unsigned char *text, size_t length);

/* Writes 1 to 4 bytes, returns how many. `code` must be a scalar value. */
size_t utf8_encode(uint32_t code, unsigned char *out);

#endif
