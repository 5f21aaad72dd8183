/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/session.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than enough for what forks while it is being killed; a bound, since nothing else ends the search. */
#define ROUNDS 100

/* proc_pid_stat(5): PID (NAME) STATE PPID PGRP SESSION. Whether it runs and is of the session. */
static bool is_member(int proc, const char *pid, pid_t session)
{
    char path[32];
    char text[256];
    char state = 'Z';
    int of = 0;
    snprintf(path, sizeof path, "%.16s/stat", pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    const char *rest = strrchr(text, ')');
    return rest && sscanf(rest, ") %c %*d %*d %d", &state, &of) == 2 && of == session && state != 'Z' &&
           state != 'X';
}

static int signal_members(pid_t session, int signal)
{
    int found = 0;
    DIR *proc = opendir("/proc");
    int fd = proc ? dirfd(proc) : -1;
    if (fd < 0)
        return 0;
    for (struct dirent *entry = readdir(proc); entry; entry = readdir(proc)) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || !is_member(fd, entry->d_name, session))
            continue;
        found++;
        kill(pid, signal);
    }
    closedir(proc);
    return found;
}

void session_signal(pid_t session, int signal)
{
    kill(-session, signal);
    int found = signal_members(session, signal);
    for (int i = 0; signal == SIGKILL && found > 0 && i < ROUNDS; i++)
        found = signal_members(session, signal);
}
