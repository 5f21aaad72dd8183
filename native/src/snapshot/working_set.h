/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of memory that a child touches until it is ready, and from the first question to its answer,
 * learnt once and kept in a file, so that a later child has them before its guest needs them. docs/formats.md
 * has the layout byte by byte.
 *
 * It is a cache: a set that is absent, damaged, cut short or of another memory is none, and learnt anew. So
 * what fails here is nobody's to hear of.
 */
#ifndef FORKD_SNAPSHOT_WORKING_SET_H
#define FORKD_SNAPSHOT_WORKING_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fewer pages in all are no answer's that took any work, but a ping's, say: nothing is learnt from it. A ping
 * of our agent's takes 150, the smallest command 780. */
#define WORKING_SET_MIN_PAGES 256u
/* More is not prepared: it would rather be in the way. */
#define WORKING_SET_MAX_WRITTEN (64ull << 20)
#define WORKING_SET_MAX_READ (256ull << 20)
#define WORKING_SET_MAX_RANGES 65536u

#define WORKING_SET_PAGE 4096u
#define WORKING_SET_HEADER_SIZE 32u
#define WORKING_SET_RANGE_SIZE 16u
#define WORKING_SET_MAX_BYTES (WORKING_SET_HEADER_SIZE + WORKING_SET_MAX_RANGES * WORKING_SET_RANGE_SIZE)

/* `count` pages from page `first` of the memory. */
struct working_set_range {
    uint64_t first;
    uint32_t count;
    bool written; /* not only read */
};

/* What the pages are needed for. Every child has to become ready; not every one is asked. */
enum working_set_part { WORKING_SET_START, WORKING_SET_ANSWER };

struct working_set {
    uint32_t count;
    uint32_t start_count;             /* so many ranges are of the start; the rest are of the answer */
    struct working_set_range *ranges; /* of each part: in order, not overlapping, within the memory */
};

/* Hostile bytes as the set of a memory of that size. -EBADMSG, -ENOMEM: there is none. */
int working_set_decode(const uint8_t *bytes, size_t length, uint64_t memory_size, struct working_set *out);
/* The same with those of a file. */
int working_set_read(int fd, uint64_t memory_size, struct working_set *out);
void working_set_free(struct working_set *set);

/* Have what it says of a memory image in the page cache soon. */
void working_set_fetch(const struct working_set *set, int memory_fd);
/* Have a part in a private mapping of the image, its own pages where they are going to be written. */
void working_set_populate(const struct working_set *set, enum working_set_part part, void *memory);

/*
 * Learning takes two looks at a private mapping of a memory image. working_set_begin notes what it has before
 * its guest is asked, which every child will have by then, and which is the start: NULL when somebody else is
 * at it, or has been, or it cannot be. working_set_learn writes that down and what has come since, frees what
 * was noted, and lets others learn, as does the end of the process. What is more than the limits is written
 * as the empty set: it will be no smaller the next time. Not synced. 0 or a negative errno; -ENODATA: it was
 * too little to learn from.
 */
uint8_t *working_set_begin(int fd, const void *memory, uint64_t size);
int working_set_learn(int fd, uint8_t *before, const void *memory, uint64_t size);

#endif
