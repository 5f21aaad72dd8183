/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The opening line of a stream. Its bytes come from outside: every text gives either an order or an error,
 * and nothing is trusted before it has been checked here.
 */
#ifndef FORKD_GUEST_ORDER_H
#define FORKD_GUEST_ORDER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ORDER_LINE_MAX ((size_t)1 << 20)
#define ORDER_TAG_MAX 128
#define ORDER_PATH_MAX 4095
#define ORDER_NONE (-1) /* of numbers that are optional */

enum order_operation {
    ORDER_RUN,
    ORDER_ATTACH,
    ORDER_PROCESSES,
    ORDER_SIGNAL,
    ORDER_RESIZE,
    ORDER_STAT,
    ORDER_LIST,
    ORDER_FILE_READ,
    ORDER_FILE_WRITE,
    ORDER_MKDIR,
    ORDER_SYMLINK,
    ORDER_MOVE,
    ORDER_REMOVE,
    ORDER_WATCH,
    ORDER_CONNECT,
    ORDER_METRICS,
};

/* Which of these an operation has is the document's to say; the others are zero, ORDER_NONE or NULL. */
struct order {
    enum order_operation operation;
    char *user; /* NULL: the image's */

    /* Processes */
    char **argv;
    char **environment; /* "NAME=value", NULL-terminated; NULL: none given */
    char *cwd;
    char *home_cwd; /* what `cwd` is in, when order_go_home made it */
    bool input;
    bool terminal;
    uint16_t rows;
    uint16_t columns;
    int64_t timeout_ms;
    char *tag;
    bool detach;
    pid_t pid;        /* 0: `tag` says which */
    uint64_t from[2]; /* bytes of stdout and stderr */
    bool output;
    int signal;
    bool group;

    /* Files */
    char *path;
    char *source;
    char *destination;
    char *target;
    bool follow;
    bool parents;
    bool recursive;
    int depth;
    int64_t offset;
    int64_t length;
    int mode;
    int64_t uid;
    int64_t gid;
    int64_t mtime_ms;

    /* Ports */
    uint16_t port; /* 0: `socket` says which */
    char *host;
    char *socket;
};

/*
 * `text` is decoded in place and must live as long as the order. Returns 0 or a negative errno; nothing needs
 * to be freed then.
 */
int order_parse(char *text, size_t length, struct order *out, struct forkd_error *err);
void order_free(struct order *order);

/* Puts the home of the order's user where it says `~`. Returns 0 or -ENOMEM. */
int order_go_home(struct order *order, const char *home, struct forkd_error *err);

#endif
