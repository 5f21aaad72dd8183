/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forkd-pager PIECE FILE [PIECE FILE]...: hands out files that are still being made, in pieces of PIECE
 * bytes. Whoever reads what is not there yet waits for it, and nobody ever sees anything else.
 *
 * It answers "ok FIRST" or "error ERRNO TEXT", a line. Then /proc/PID/fd/FIRST is the first file, and so on:
 * who is to have one opens that. From then on messages of two little-endian numbers of 32 bits come and go.
 * On standard input, which file (from 0) and which piece of it has come; or, with CONTROL in place of a file,
 * LET_GO: all have been opened who are to have them; COMPLETE: all has come. On standard output, which
 * file and piece somebody waits for. When standard input ends before all has come, who waits for more gets an
 * I/O error. The process ends when nobody has any of the files any more.
 */
#include "base/error.h"
#include "pager/content.h"
#include "pager/fuse.h"
#include "proc/capabilities.h"
#include "proc/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST 100
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number
#define SERVERS 4u

#define CONTROL UINT32_MAX
#define LET_GO 0u
#define COMPLETE 1u

#define CALL FILTER_CALL

static const struct filter_call calls[] = {
    CALL(read, "requests of the kernel; which piece has come"),
    CALL(pread64, "pieces"),
    CALL(write, "which piece is wanted"),
    CALL(writev, "answers to the kernel"),
    CALL(close, "files, when all have them"),
    FILTER_CALL_WITH(mmap, 2, FILTER_NO_BITS, filter_executable, "memory"),
    FILTER_CALL_WITH(mprotect, 2, FILTER_NO_BITS, filter_executable, "memory"),
    CALL(munmap, "memory"),
    CALL(madvise, "memory"),
    CALL(mremap, "memory"),
    CALL(brk, "memory"),
    CALL(futex, "the lock; the end of threads"),
    CALL(getuid, "whose the files are"),
    CALL(getgid, "whose the files are"),
    CALL(rt_sigprocmask, "the C library"),
    CALL(rt_sigreturn, "signals"),
    CALL(restart_syscall, "signals"),
    CALL(set_robust_list, "the C library"),
    CALL(exit, "the end of a thread"),
    CALL(exit_group, "the end"),
    FILTER_END_OF_CALLS,
};

const struct filter_role filter_roles[] = {
    {"pager", "forkd-pager, which hands out files that are still being fetched", calls, NULL},
    {NULL, NULL, NULL, NULL},
};

/* Not by stdio, which would ask what standard output is. */
static void say(const char *line)
{
    if (write(STDOUT_FILENO, line, strlen(line)) < 0)
        _exit(1); /* nobody is there any more */
}

static int fail(const struct forkd_error *error)
{
    char line[sizeof error->text + 32];
    snprintf(line, sizeof line, "error %d %s\n", -error->code, error->text);
    say(line);
    return 1;
}

/* Its own files, by which others open them. While somebody else serves. */
static int open_files(const struct fuse *fuse, struct forkd_error *err)
{
    for (uint32_t i = 0; i < fuse->content->count; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        int fd = openat(fuse->mount, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return error_set(err, errno, "open", "its own file", NULL);
        int placed = fcntl(fd, F_DUPFD_CLOEXEC, FIRST + (int)i);
        close(fd);
        if (placed != FIRST + (int)i)
            return error_set(err, placed < 0 ? errno : EBUSY, "open", "its own file", NULL);
    }
    return 0;
}

static void let_go(struct fuse *fuse)
{
    for (uint32_t i = 0; i < fuse->content->count; i++)
        close(FIRST + (int)i);
    close(fuse->mount);
}

/* Of nobody to whom it could be told: what was to be served is lost. */
static void *serve(void *fuse)
{
    struct forkd_error error;
    if (filter_install(filter_roles, NULL, &error) < 0)
        _exit(1);
    fuse_serve(fuse);
    return NULL;
}

/* Reads what is told until it ends; returns whether files are still held by this process. */
static void listen_to_maker(struct fuse *fuse)
{
    bool held = true;
    struct content_message message;
    size_t have = 0;
    for (;;) {
        ssize_t got = read(STDIN_FILENO, (uint8_t *)&message + have, sizeof message - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
        if (have < sizeof message)
            continue;
        have = 0;
        pthread_mutex_lock(&fuse->lock);
        if (message.file == CONTROL && message.piece == LET_GO && held) {
            let_go(fuse);
            held = false;
        } else if (message.file == CONTROL && message.piece == COMPLETE) {
            content_complete(fuse->content);
        } else {
            content_have(fuse->content, message);
        }
        fuse_wake(fuse);
        pthread_mutex_unlock(&fuse->lock);
    }
    pthread_mutex_lock(&fuse->lock);
    fuse->content->over = true;
    fuse_wake(fuse);
    pthread_mutex_unlock(&fuse->lock);
    if (held)
        let_go(fuse);
}

static int start(struct fuse *fuse, struct content *content, pthread_t *servers, struct forkd_error *err)
{
    int rc = fuse_open(fuse, content, err);
    if (rc == 0)
        rc = capabilities_gain_none(err);
    if (rc == 0)
        rc = capabilities_keep(0, err);
    for (uint32_t i = 0; rc == 0 && i < SERVERS; i++) {
        int code = pthread_create(&servers[i], NULL, serve, fuse);
        if (code != 0)
            rc = error_set(err, code, "start", "a thread", NULL);
    }
    if (rc == 0)
        rc = open_files(fuse, err);
    return rc < 0 ? rc : filter_install(filter_roles, NULL, err);
}

int main(int argc, char **argv)
{
    static struct content content = {.want_fd = STDOUT_FILENO};
    static struct fuse fuse;
    struct forkd_error error = {0};
    if (argc == 2 && strcmp(argv[1], "--syscalls") == 0) {
        filter_print(stdout, filter_roles);
        return 0;
    }
    if (argc < 3 || argc % 2 == 0) {
        fprintf(stderr, "usage: forkd-pager PIECE FILE [PIECE FILE]...\n"
                        "       forkd-pager --syscalls\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* who makes the files may be gone */
    setsid();                 /* what ends his terminal is not to end those who have the files */
    for (int i = 1; i < argc; i += 2)
        if (content_add(&content, argv[i + 1], (uint32_t)strtoul(argv[i], NULL, 10), &error) < 0)
            return fail(&error);
    pthread_t servers[SERVERS] = {0};
    if (start(&fuse, &content, servers, &error) < 0)
        return fail(&error);
    say("ok " TEXT(FIRST) "\n");
    listen_to_maker(&fuse);
    for (uint32_t i = 0; i < SERVERS; i++)
        pthread_join(servers[i], NULL);
    return 0;
}
