/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

int loop_init(struct loop *loop, pthread_mutex_t *lock, struct forkd_error *err)
{
    loop->stop = false;
    loop->lock = lock;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return error_set(err, errno, "epoll_create1", "event loop", NULL);
    return 0;
}

void loop_close(struct loop *loop)
{
    close(loop->epoll_fd);
    loop->epoll_fd = -1;
}

int loop_add(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events, struct forkd_error *err)
{
    struct epoll_event event = {.events = events, .data = {.ptr = watch}};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return error_set(err, errno, "epoll_ctl", "event loop", "cannot watch descriptor %d", fd);
    watch->fd = fd;
    watch->events = events;
    return 0;
}

void loop_modify(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
    if (watch->fd < 0 || watch->events == events)
        return;
    struct epoll_event event = {.events = events, .data = {.ptr = watch}};
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
    watch->events = events;
}

void loop_remove(struct loop *loop, struct loop_watch *watch)
{
    if (watch->fd < 0)
        return;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->fd = -1;
}

int loop_once(struct loop *loop, int timeout_ms, struct forkd_error *err)
{
    /* One event a wait: a callback may remove any other watch, so none may be pending in our hands. */
    struct epoll_event event;
    int count = epoll_wait(loop->epoll_fd, &event, 1, timeout_ms);
    if (count < 0)
        return errno == EINTR ? 0 : error_set(err, errno, "epoll_wait", "event loop", NULL);
    if (count == 0)
        return 0;
    struct loop_watch *watch = event.data.ptr;
    if (loop->lock != NULL)
        pthread_mutex_lock(loop->lock);
    /* Between epoll_wait and the lock another thread may have removed it. */
    if (watch->fd >= 0)
        watch->ready(watch, event.events);
    if (loop->lock != NULL)
        pthread_mutex_unlock(loop->lock);
    return 0;
}
