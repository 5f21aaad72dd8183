/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One epoll loop per VM process. Everything a device does outside a register access happens on it, with the
 * VM's lock held (the loop takes it around each callback), so devices need no locks of their own.
 */
#ifndef FORKD_BASE_LOOP_H
#define FORKD_BASE_LOOP_H

#include "base/error.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct loop {
    int epoll_fd;
    bool stop;
    pthread_mutex_t *lock; /* held around every callback; NULL: none (tests) */
};

/* Embedded in its owner; the callback gets back to it with container_of. */
struct loop_watch {
    int fd;          /* -1: not watched */
    uint32_t events; /* EPOLLIN, EPOLLOUT, ... ; 0 is allowed: only errors and hang-up are reported */
    void (*ready)(struct loop_watch *watch, uint32_t events);
};

#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

int loop_init(struct loop *loop, pthread_mutex_t *lock, struct forkd_error *err);
void loop_close(struct loop *loop);
/* Watch watch->fd for `events`. The watch must stay where it is until loop_remove. */
int loop_add(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events, struct forkd_error *err);
/* Change what a watch waits for; no system call when nothing changes. */
void loop_modify(struct loop *loop, struct loop_watch *watch, uint32_t events);
/* Stop watching; closing the descriptor is the caller's. A callback of it that is already due does not run.
 */
void loop_remove(struct loop *loop, struct loop_watch *watch);
/* One round: wait at most timeout_ms (-1: no limit) and run what is due. */
int loop_once(struct loop *loop, int timeout_ms, struct forkd_error *err);

#endif
