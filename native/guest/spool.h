/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output of a program, kept until the program has ended. The first MiB stays in memory; what is larger goes
 * to a file without a name in /tmp, because there the kernel can write it to the disk: 100 MiB of output must
 * not push a guest of 256 MiB out of memory. Where /tmp cannot hold such a file, /dev/shm does.
 */
#ifndef FORKD_GUEST_SPOOL_H
#define FORKD_GUEST_SPOOL_H

#include "writer.h"

#include <stddef.h>

struct spool {
    char *memory;
    size_t used;
    size_t capacity;
    int fd; /* -1: all is in memory */
};

void spool_init(struct spool *spool);
void spool_free(struct spool *spool);
int spool_append(struct spool *spool, const void *data, size_t length); /* 0 or a negative errno */

/* Writes all of it as one JSON string. 0 or a negative errno. */
int spool_write_string(struct spool *spool, struct writer *writer);

#endif
