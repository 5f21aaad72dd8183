/* SPDX-License-Identifier: Apache-2.0 */
#include "base/broker.h"

#include "base/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* It waits for a disk, at most. */
#define REPLY_TIMEOUT_MS 60000

static int broker = -1;

void broker_use(int fd)
{
    broker = fd;
}

int broker_fd(void)
{
    return broker;
}

static void close_all(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
}

int broker_invite(int *channels, uint32_t count, struct forkd_error *err)
{
    const struct broker_request request = {.operation = BROKER_JOIN};
    int theirs[BROKER_MAX_JOINING];
    uint32_t made = 0;
    int rc = 0;
    for (uint32_t i = 0; i < count; i++)
        channels[i] = -1;
    if (broker < 0)
        return 0;
    while (made < count && rc == 0) {
        int pair[2];
        rc = channel_pair(pair, err);
        if (rc < 0)
            break;
        channels[made] = pair[0];
        theirs[made++] = pair[1];
        /* Who asks is told by the kernel. */
        rc = channel_ask_sender(pair[1], err);
    }
    if (rc == 0)
        rc = channel_send(broker, REPLY_TIMEOUT_MS, &request, sizeof request, theirs, count, err);
    close_all(theirs, made);
    if (rc < 0)
        close_all(channels, made);
    return rc;
}

int broker_take(int channel, struct forkd_error *err)
{
    if (channel < 0)
        return 0;
    /* Under the number that there was: not noted, since that would be a page of each child's own. */
    int rc = dup2(channel, broker) < 0 ? error_set(err, errno, "dup2", "broker", NULL) : 0;
    close(channel);
    return rc;
}

int broker_join(struct forkd_error *err)
{
    int channel;
    int rc = broker_invite(&channel, 1, err);
    return rc < 0 ? rc : broker_take(channel, err);
}

/* `fds`: behind the reply's. */
static int ask(const struct broker_request *request, const int *fds, uint32_t fd_count)
{
    int pair[2];
    int rc = channel_pair(pair, NULL);
    if (rc < 0)
        return rc;
    int all[3] = {pair[1]};
    for (uint32_t i = 0; i < fd_count; i++)
        all[1 + i] = fds[i];
    struct broker_reply reply = {0};
    size_t length = 0;
    int got = -1;
    uint32_t got_count = 1;
    rc = channel_send(broker, REPLY_TIMEOUT_MS, request, sizeof *request, all, 1 + fd_count, NULL);
    close(pair[1]); /* so that an end of the broker is the end of the pair */
    if (rc == 0)
        rc =
            channel_receive(pair[0], REPLY_TIMEOUT_MS, &reply, sizeof reply, &length, &got, &got_count, NULL);
    if (rc == 0 || (rc > 0 && length != sizeof reply))
        rc = -EPIPE;
    if (rc > 0)
        rc = got_count == 1 ? got : reply.result;
    close(pair[0]);
    return rc;
}

static int ask_of_names(struct broker_request *request, int directory, const char *name, const char *to)
{
    if (strlen(name) >= sizeof request->name || strlen(to) >= sizeof request->to)
        return -ENAMETOOLONG;
    snprintf(request->name, sizeof request->name, "%s", name);
    snprintf(request->to, sizeof request->to, "%s", to);
    return ask(request, &directory, 1);
}

static int ask_of_name(uint32_t operation, int directory, const char *name, const char *to)
{
    struct broker_request request = {.operation = operation};
    return ask_of_names(&request, directory, name, to);
}

int broker_open(int directory, const char *name, int flags, uint32_t mode)
{
    flags |= O_CLOEXEC | O_NOFOLLOW;
    if (broker < 0) {
        int fd = openat(directory, name, flags, mode);
        return fd < 0 ? -errno : fd;
    }
    struct broker_request request = {.operation = BROKER_OPEN, .flags = (uint32_t)flags, .mode = mode};
    return ask_of_names(&request, directory, name, "");
}

int broker_unlink(int directory, const char *name)
{
    if (broker < 0)
        return unlinkat(directory, name, 0) < 0 ? -errno : 0;
    return ask_of_name(BROKER_UNLINK, directory, name, "");
}

int broker_rename(int directory, const char *from, const char *to)
{
    if (broker < 0)
        return renameat(directory, from, directory, to) < 0 ? -errno : 0;
    return ask_of_name(BROKER_RENAME, directory, from, to);
}

int broker_find(int directory, const char *name)
{
    struct stat there;
    /* Not faccessat(2), whose flags need a system call that filters of old containers refuse. */
    if (broker < 0)
        return fstatat(directory, name, &there, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
    return ask_of_name(BROKER_FIND, directory, name, "");
}

int broker_pagemap(void)
{
    if (broker < 0) {
        int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    /* It belongs to a descriptor's process for good, so it cannot be opened before fork(2); and only root may
     * open that of a process which is not "dumpable". */
    struct broker_request request = {.operation = BROKER_PAGEMAP};
    prctl(PR_SET_DUMPABLE, 1);
    int fd = ask(&request, NULL, 0);
    prctl(PR_SET_DUMPABLE, 0);
    return fd;
}

int broker_listen(int directory, const char *name)
{
    return ask_of_name(BROKER_LISTEN, directory, name, "");
}

void broker_release(void)
{
    const struct broker_request request = {.operation = BROKER_RELEASE};
    ask(&request, NULL, 0);
}

int broker_connect(int directory, const char *name)
{
    return ask_of_name(BROKER_CONNECT, directory, name, "");
}

void broker_unlisten(int listener, int directory)
{
    const struct broker_request request = {.operation = BROKER_UNLISTEN};
    const int fds[2] = {directory, listener};
    ask(&request, fds, 2);
}

int broker_kill(const pid_t *children, size_t count)
{
    int rc = 0;
    while (count > 0 && rc == 0) {
        struct broker_request request = {.operation = BROKER_KILL};
        for (; request.count < BROKER_MAX_PIDS && count > 0; count--)
            request.pids[request.count++] = *children++;
        rc = ask(&request, NULL, 0);
    }
    return rc;
}

void broker_tidy(void)
{
    const struct broker_request request = {.operation = BROKER_TIDY};
    ask(&request, NULL, 0);
}
