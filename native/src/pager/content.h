/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of which not all is there yet. They are made in pieces, in files of the disk that have their full
 * size from the beginning; whoever makes them tells which piece has come.
 */
#ifndef FORKD_PAGER_CONTENT_H
#define FORKD_PAGER_CONTENT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTENT_MAX_FILES 64u

/* One file that is handed out. */
struct content_file {
    int fd;           /* what is made; read only */
    uint64_t size;    /* bytes */
    uint32_t piece;   /* bytes; a power of two of at least 4096 */
    uint32_t count;   /* of pieces */
    uint8_t *present; /* of each piece: PIECE_... */
};

enum content_state {
    CONTENT_PRESENT, /* all of a range can be read */
    CONTENT_AWAITED, /* some of it is to come */
    CONTENT_LOST     /* some of it will never come */
};

struct content {
    struct content_file files[CONTENT_MAX_FILES];
    uint32_t count;
    bool over;   /* nothing more comes */
    int want_fd; /* where is written what somebody waits for */
};

/* What is said of a piece, in both directions; little-endian. */
struct content_message {
    uint32_t file;
    uint32_t piece;
};

/* Add a file. `piece` is as above. */
int content_add(struct content *content, const char *path, uint32_t piece, struct forkd_error *err);

/* A piece has come. What no file has is refused: -EINVAL. */
int content_have(struct content *content, struct content_message message);

/* All has come. */
void content_complete(struct content *content);

/* Whether a range is there; what is not is asked for, once. The range lies within the file. */
enum content_state content_look(struct content *content, uint32_t file, uint64_t offset, uint64_t length);

#endif
