/* SPDX-License-Identifier: Apache-2.0 */
#include "api/handle.h"
#include "base/array.h"
#include "base/error.h"
#include "base/process.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NO_PIDFD (-1)

#define NO_PLACE UINT64_MAX

/* A process that is waited for. Its place in the array is what epoll tells. */
struct watched {
    int pidfd;      /* NO_PIDFD: the place is free */
    uint64_t token; /* of a free place: the next free one */
};

struct forkd_watch {
    int epoll;
    pthread_mutex_t lock; /* of what follows */
    struct watched *processes;
    uint64_t count;
    uint64_t capacity;
    uint64_t free; /* the first free place, or NO_PLACE */
};

API int forkd_watch_new(struct forkd_watch **out, struct forkd_error *err)
{
    struct forkd_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return error_set(err, ENOMEM, "allocate", "watch", NULL);
    watch->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (watch->epoll < 0) {
        int error = errno;
        free(watch);
        return error_set(err, error, "epoll_create1", "watch", NULL);
    }
    pthread_mutex_init(&watch->lock, NULL);
    watch->free = NO_PLACE;
    *out = watch;
    return 0;
}

static void give_place(struct forkd_watch *watch, uint64_t at)
{
    watch->processes[at] = (struct watched){NO_PIDFD, watch->free};
    watch->free = at;
}

/* A free place; NO_PLACE: there is no memory for one. */
static uint64_t take_place(struct forkd_watch *watch)
{
    uint64_t at = watch->free;
    if (at != NO_PLACE) {
        watch->free = watch->processes[at].token;
        return at;
    }
    void *moved = array_room(watch->processes, watch->count + 1, &watch->capacity, sizeof *watch->processes);
    if (moved == NULL)
        return NO_PLACE;
    watch->processes = moved;
    return watch->count++;
}

/* 0 or an errno. */
static int watch_pidfd(struct forkd_watch *watch, int pidfd, uint64_t token)
{
    uint64_t at = take_place(watch);
    if (at == NO_PLACE)
        return ENOMEM;
    watch->processes[at] = (struct watched){pidfd, token};
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = at};
    if (epoll_ctl(watch->epoll, EPOLL_CTL_ADD, pidfd, &event) == 0)
        return 0;
    int error = errno;
    give_place(watch, at);
    return error;
}

API int forkd_watch_add(struct forkd_watch *watch, int32_t pid, uint64_t start_time, uint64_t token,
                        struct forkd_error *err)
{
    char name[32];
    snprintf(name, sizeof name, "process %d", pid);
    int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (pidfd < 0)
        return error_set(err, pid > 0 ? errno : EINVAL, "watch", name, NULL);
    int error = ESRCH;
    /* What is compared is the process that the descriptor is of: it had the number before that was asked. */
    if (start_time != 0 && process_start_time(pid) == start_time) {
        pthread_mutex_lock(&watch->lock);
        error = watch_pidfd(watch, pidfd, token);
        pthread_mutex_unlock(&watch->lock);
    }
    if (error == 0)
        return 0;
    close(pidfd);
    return error_set(err, error, "watch", name, NULL);
}

API int forkd_watch_wait(struct forkd_watch *watch, int32_t timeout_ms, uint64_t *token,
                         struct forkd_error *err)
{
    struct epoll_event event;
    int got = epoll_wait(watch->epoll, &event, 1, timeout_ms);
    if (got <= 0)
        return error_set(err, got == 0 || errno == EINTR ? ETIMEDOUT : errno, "wait for", "processes", NULL);
    pthread_mutex_lock(&watch->lock);
    struct watched ended = watch->processes[event.data.u64];
    *token = ended.token;
    /* Closing it is not enough where a fork(2) of ours has it open, too. */
    epoll_ctl(watch->epoll, EPOLL_CTL_DEL, ended.pidfd, NULL);
    close(ended.pidfd);
    give_place(watch, event.data.u64);
    pthread_mutex_unlock(&watch->lock);
    return 0;
}

API void forkd_watch_free(struct forkd_watch *watch)
{
    if (watch == NULL)
        return;
    for (uint64_t i = 0; i < watch->count; i++)
        if (watch->processes[i].pidfd != NO_PIDFD)
            close(watch->processes[i].pidfd);
    close(watch->epoll);
    pthread_mutex_destroy(&watch->lock);
    free(watch->processes);
    free(watch);
}
