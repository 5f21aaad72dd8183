/* SPDX-License-Identifier: Apache-2.0 */
#include "reseed.h"

#include "clock.h"
#include "console.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESEED_RECORD 5

/* Seconds. The monitor bounds the whole of it; this only keeps a hung interpreter from holding the agent for
 * good. */
#define INTERPRETER_TIMEOUT 120

/* Seconds for all others together. What is in the middle of a long call reseeds when that returns. */
#define OTHERS_TIMEOUT 10

/*
 * How often whoever has not answered is asked again. Python looks for signals and then waits in a system
 * call: one that comes in between would be handled when that returns, which another one sees to.
 */
#define AGAIN_MS 100
#define DYING_MS 2000

#define OTHERS_MAX 4096

enum state { ASKED, DONE, UNREACHABLE };

struct other {
    pid_t pid;
    enum state state;
};

/* One identity at a time is taken (warm.h), by a process that should not have to allocate meanwhile. */
static struct other others[OTHERS_MAX];
static size_t other_count;

int reseed_open(struct reseed *reseed)
{
    int ends[2];
    char name[32];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *reseed = (struct reseed){.answers = ends[0], .number = ends[1]};
    snprintf(name, sizeof name, "/proc/self/fd/%d", ends[1]);
    (void)!readlink(name, reseed->pipe, sizeof reseed->pipe - 1);
    return ends[1];
}

void reseed_close(struct reseed *reseed)
{
    close(reseed->answers);
    reseed->answers = -1;
}

static void ask_interpreter(const struct child *interpreter)
{
    syscall(SYS_pidfd_send_signal, interpreter->pidfd, RESEED_SIGNAL, NULL, 0);
}

void reseed_begin(const struct reseed *reseed, const struct child *interpreter)
{
    char stale[1024];
    /* NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection): O_NONBLOCK */
    while (read(reseed->answers, stale, sizeof stale) > 0)
        ;
    ask_interpreter(interpreter);
}

/* The next answer, if there is one: 1, 0 when there is none yet, -EPIPE when there will be none any more. */
static int take_answer(const struct reseed *reseed, pid_t *pid, bool *good)
{
    unsigned char record[RESEED_RECORD];
    ssize_t got = read(reseed->answers, record, sizeof record);
    if (got < 0)
        return 0;
    if (got < (ssize_t)sizeof record)
        return -EPIPE;
    uint32_t number;
    memcpy(&number, record, sizeof number);
    *pid = (pid_t)le32toh(number);
    *good = record[4] == '+';
    return 1;
}

static int await_interpreter(const struct reseed *reseed, const struct child *interpreter)
{
    int64_t deadline = clock_deadline(INTERPRETER_TIMEOUT);
    for (;;) {
        struct pollfd fds[2] = {
            {.fd = reseed->answers, .events = POLLIN},
            {.fd = interpreter->pidfd, .events = POLLIN},
        };
        int ready = poll(fds, 2, AGAIN_MS);
        pid_t pid;
        bool good;
        int taken;
        while ((taken = take_answer(reseed, &pid, &good)) > 0)
            if (pid == interpreter->pid)
                return good ? 0 : -EIO;
        /* A dead interpreter has no state to share; its successor starts with fresh seeds. */
        if (ready > 0 && fds[1].revents)
            return 0;
        if (taken < 0) /* it is dying, or has closed its end, and cannot answer */
            return poll(&fds[1], 1, DYING_MS) > 0 ? 0 : taken;
        if (clock_now_ms() >= deadline)
            return -ETIMEDOUT;
        if (ready == 0)
            ask_interpreter(interpreter);
    }
}

static bool holds_pipe(const struct reseed *reseed, pid_t pid)
{
    char name[48];
    char link[sizeof reseed->pipe] = "";
    snprintf(name, sizeof name, "/proc/%d/fd/%d", (int)pid, reseed->number);
    return readlink(name, link, sizeof link - 1) > 0 && strcmp(link, reseed->pipe) == 0;
}

static bool has_signal(const char *status, const char *mask)
{
    const char *at = strstr(status, mask);
    return at && (strtoull(at + strlen(mask), NULL, 16) >> (RESEED_SIGNAL - 1) & 1);
}

static bool read_status(pid_t pid, char *out, size_t size)
{
    char name[32];
    snprintf(name, sizeof name, "/proc/%d/status", (int)pid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, out, size - 1);
    if (fd >= 0)
        close(fd);
    out[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* What is stopped reseeds before it goes on: the signal waits for it. */
static bool is_stopped(const char *status)
{
    const char *state = strstr(status, "\nState:\t");
    return state && (state[8] == 'T' || state[8] == 't');
}

/*
 * Where the signal is not caught its default would be death, and where it is blocked it would come later,
 * perhaps to another program. The pidfd is that of the process that is looked at, or of one that is gone.
 */
static enum state ask(pid_t pid)
{
    char status[4096];
    enum state state = UNREACHABLE;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0 || !read_status(pid, status, sizeof status))
        state = DONE;
    else if (has_signal(status, "\nSigCgt:\t") && !has_signal(status, "\nSigBlk:\t") &&
             syscall(SYS_pidfd_send_signal, pidfd, RESEED_SIGNAL, NULL, 0) == 0)
        state = is_stopped(status) ? DONE : ASKED;
    if (pidfd >= 0)
        close(pidfd);
    return state;
}

static struct other *find(pid_t pid)
{
    for (size_t i = 0; i < other_count; i++)
        if (others[i].pid == pid)
            return &others[i];
    return NULL;
}

/* How many are new. All of /proc, since what became a daemon has neither parent nor session left. */
static size_t ask_others(const struct reseed *reseed, pid_t interpreter)
{
    size_t before = other_count;
    DIR *folder = opendir("/proc");
    for (struct dirent *entry = folder ? readdir(folder) : NULL; entry; entry = readdir(folder)) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || pid == interpreter || !holds_pipe(reseed, pid) || find(pid) ||
            other_count == OTHERS_MAX)
            continue;
        others[other_count++] = (struct other){.pid = pid, .state = ask(pid)};
    }
    if (folder)
        closedir(folder);
    return other_count - before;
}

/* Whether there may be more. */
static bool take_answers(const struct reseed *reseed)
{
    pid_t pid;
    bool good;
    int taken;
    while ((taken = take_answer(reseed, &pid, &good)) > 0) {
        struct other *other = find(pid);
        if (other)
            other->state = good ? DONE : UNREACHABLE;
    }
    return taken == 0;
}

static bool await_others(const struct reseed *reseed, int64_t deadline)
{
    for (;;) {
        struct pollfd answers = {.fd = reseed->answers, .events = POLLIN};
        int ready = poll(&answers, 1, AGAIN_MS);
        bool owed = false;
        bool more = take_answers(reseed);
        for (size_t i = 0; i < other_count; i++) {
            /* It may have ended, executed another program or been stopped since it was asked. */
            if (others[i].state == ASKED && (ready == 0 || !more))
                others[i].state = holds_pipe(reseed, others[i].pid) ? ask(others[i].pid) : DONE;
            /* The pipe has ended, with the last of them, or what comes through it is no answer. */
            if (others[i].state == ASKED && !more)
                others[i].state = UNREACHABLE;
            owed = owed || others[i].state == ASKED;
        }
        if (!owed || clock_now_ms() >= deadline)
            return !owed;
    }
}

int reseed_finish(const struct reseed *reseed, const struct child *interpreter)
{
    int status = await_interpreter(reseed, interpreter);
    if (status < 0)
        return status;
    int64_t deadline = clock_deadline(OTHERS_TIMEOUT);
    other_count = 0;
    /* What they forked before they answered has the old state. */
    while (ask_others(reseed, interpreter->pid) > 0 && await_others(reseed, deadline))
        ;
    for (size_t i = 0; i < other_count; i++)
        if (others[i].state != DONE)
            console(
                "process %d, forked from the warm interpreter: its generators are not known to be reseeded",
                (int)others[i].pid);
    return 0;
}
