/* SPDX-License-Identifier: Apache-2.0 */
/* What the program is told to build. The format is in docs/images.md. */
#ifndef FORKD_MKFS_STREAM_H
#define FORKD_MKFS_STREAM_H

#include <stddef.h>
#include <stdint.h>

/* A name, a symlink's target, an extended attribute's value: nothing is longer. */
#define STREAM_TEXT_MAX 65536u

/* Where it comes from. */
void stream_open(int fd);

/* All of these end the program when the stream ends before its time: there is nothing to finish then. */
uint8_t stream_u8(void);
uint16_t stream_u16(void);
uint32_t stream_u32(void);
uint64_t stream_u64(void);
void stream_bytes(void *out, size_t length);
/* Bytes with their number in front. The buffer has STREAM_TEXT_MAX + 1 bytes; a NUL is put after the text. */
size_t stream_text(char *out);

/* Bytes as stream_u8 and so on would return next; at least one, at most `most`. */
const void *stream_view(size_t most, size_t *length);
void stream_skip(size_t length);

#endif
