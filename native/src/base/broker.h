/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a confined process cannot do itself, since it may use no path and signal nobody: it asks the broker, a
 * process that stays outside (proc/broker.c). What may be asked for is decided by the descriptors that the
 * asker holds: a folder that it was handed, and in that a file by a name without a slash.
 *
 * A process that has no broker, as the library's caller, is not confined, and does the same itself.
 */
#ifndef FORKD_BASE_BROKER_H
#define FORKD_BASE_BROKER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BROKER_NAME_SIZE 108 /* sizeof sockaddr_un.sun_path */
#define BROKER_MAX_PIDS 64
#define BROKER_MAX_JOINING 8

/* What -EPIPE of the calls below means. */
#define BROKER_GONE                                                                                          \
    "its broker was killed, or serves as many processes of this VM and its branches as the limit of open "   \
    "files lets it; ulimit -n raises that"

enum broker_operation {
    BROKER_OPEN = 1,
    BROKER_UNLINK,
    BROKER_RENAME,
    BROKER_FIND,
    BROKER_PAGEMAP,
    BROKER_LISTEN,
    BROKER_RELEASE,
    BROKER_CONNECT,
    BROKER_UNLISTEN,
    BROKER_KILL,
    BROKER_TIDY,
    BROKER_JOIN,
};

/* Descriptors: where the reply goes; then the folder, if it needs one; to UNLISTEN, the listening socket. To
 * JOIN, which is not replied to, only new channels, up to BROKER_MAX_JOINING. */
struct broker_request {
    uint32_t operation;
    uint32_t flags; /* of open(2) */
    uint32_t mode;
    uint32_t count; /* of pids */
    int32_t pids[BROKER_MAX_PIDS];
    char name[BROKER_NAME_SIZE];
    char to[BROKER_NAME_SIZE];
};

/* Descriptor: what was opened, if something was. */
struct broker_reply {
    int32_t result;
};

/* From here on this process, and what it forks, asks at this descriptor; -1: nobody. */
void broker_use(int fd);
int broker_fd(void);

/*
 * A process that a guest may take over asks on a channel of its own, which nobody else has: what it does to
 * that, and how much it asks, is its own affair.
 *
 * Made by who is about to fork such processes, `count` of them, the descriptors are the caller's; -1 each
 * where there is no broker.
 */
int broker_invite(int *channels, uint32_t count, struct forkd_error *err);
/* In the new process, where it begins: takes `channel`. Others of its kind are to be closed. */
int broker_take(int channel, struct forkd_error *err);
/* Both at once. */
int broker_join(struct forkd_error *err);

/* All return 0, or the descriptor, or a negative errno. openat(2), without following a link at the end; */
int broker_open(int directory, const char *name, int flags, uint32_t mode);
int broker_unlink(int directory, const char *name);
int broker_rename(int directory, const char *from, const char *to);
/* whether there is something of that name: 0 or -ENOENT; */
int broker_find(int directory, const char *name);
/* and /proc/self/pagemap. */
int broker_pagemap(void);

/*
 * A listening stream socket, not blocking, at a new name; one for each channel. The broker removes the name
 * when the channel is closed, unless something else has it by then. broker_release has it do that at once.
 */
int broker_listen(int directory, const char *name);
void broker_release(void);
/* A connection to a listening stream socket. */
int broker_connect(int directory, const char *name);
/* Remove the name of a listening socket that is ours: see listener_unlink. */
void broker_unlisten(int listener, int directory);
/* SIGKILL to children of this process; to nobody else. */
int broker_kill(const pid_t *children, size_t count);
/* The names of sockets of processes that have ended are gone when this returns. */
void broker_tidy(void);

#endif
