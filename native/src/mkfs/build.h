/* SPDX-License-Identifier: Apache-2.0 */
/* Makes what the stream describes. Which kind of volume it becomes is decided when the program is linked. */
#ifndef FORKD_MKFS_BUILD_H
#define FORKD_MKFS_BUILD_H

#include <stdbool.h>
#include <stdint.h>

struct build_result {
    bool complete;
    uint64_t used;   /* bytes */
    uint64_t needed; /* bytes that would have sufficed */
};

/* Reads from the stream to its end. A description that is wrong ends in fail(). */
void build(const char *path, struct build_result *out);

#endif
