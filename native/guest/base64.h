/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 4648 section 4, with padding. */
#ifndef FORKD_GUEST_BASE64_H
#define FORKD_GUEST_BASE64_H

#include <stddef.h>
#include <sys/types.h>

#define BASE64_ENCODED_SIZE(length) (((length) + 2) / 3 * 4)

/* Writes BASE64_ENCODED_SIZE(length) characters, no NUL. */
void base64_encode(const unsigned char *data, size_t length, char *out);

/*
 * `out` may be `text`: decoding never overtakes. Padding may be missing; white space, other alphabets and
 * stray bits are refused. Returns the number of bytes, or -EINVAL.
 */
ssize_t base64_decode(const char *text, size_t length, unsigned char *out);

#endif
