/* SPDX-License-Identifier: Apache-2.0 */
#include "drain.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int adopted = -1;

/* Throws away what is there; whether more may come. */
static bool empty(int fd)
{
    static char waste[65536]; /* shared: nobody reads it */
    ssize_t got = read(fd, waste, sizeof waste);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static void *run(void *unused)
{
    (void)unused;
    struct epoll_event event;
    for (;;) {
        if (epoll_wait(adopted, &event, 1, -1) != 1 || empty(event.data.fd))
            continue;
        /* Closing alone does not take it out: what another thread has just forked has it open until exec. */
        epoll_ctl(adopted, EPOLL_CTL_DEL, event.data.fd, NULL);
        close(event.data.fd);
    }
    return NULL;
}

static void start(void)
{
    pthread_t thread;
    adopted = epoll_create1(EPOLL_CLOEXEC);
    if (adopted >= 0 && pthread_create(&thread, NULL, run, NULL) == 0) {
        pthread_detach(thread);
    } else if (adopted >= 0) {
        close(adopted);
        adopted = -1;
    }
}

void drain_adopt(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (!empty(fd)) {
        close(fd);
        return;
    }
    pthread_once(&once, start);
    if (adopted < 0 || epoll_ctl(adopted, EPOLL_CTL_ADD, fd, &event) < 0)
        close(fd);
}
