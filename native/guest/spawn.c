/* SPDX-License-Identifier: Apache-2.0 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* All that the child needs is made before fork(2): in a process with threads it may not allocate. */
struct plan {
    const struct spawn_options *options;
    char **environment;
    char *candidates; /* paths to try, each NUL-terminated, an empty one at the end */
    int report;       /* where the child tells why it failed; closed by a successful exec */
};

struct failure {
    int error;
    int of_cwd;
};

static size_t name_length(const char *variable)
{
    return strcspn(variable, "=");
}

static bool is_overridden(const char *variable, char *const *overrides)
{
    size_t length = name_length(variable);
    for (; overrides && *overrides; overrides++)
        if (name_length(*overrides) == length && memcmp(*overrides, variable, length) == 0)
            return true;
    return false;
}

static char **merge_environment(char *const *overrides)
{
    size_t count = 0;
    for (char **variable = environ; variable && *variable; variable++)
        count++;
    for (char *const *variable = overrides; variable && *variable; variable++)
        count++;
    char **merged = calloc(count + 1, sizeof *merged);
    if (!merged)
        return NULL;
    size_t used = 0;
    for (char **variable = environ; variable && *variable; variable++)
        if (!is_overridden(*variable, overrides))
            merged[used++] = *variable;
    for (; overrides && *overrides; overrides++)
        merged[used++] = *overrides;
    return merged;
}

static const char *find_path(char *const *environment)
{
    for (; *environment; environment++)
        if (strncmp(*environment, "PATH=", 5) == 0)
            return *environment + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static char *list_candidates(const char *name, const char *path)
{
    size_t parts = 1;
    for (const char *c = path; *c; c++)
        parts += *c == ':';
    char *list = calloc(1, strlen(path) + parts * (strlen(name) + 2) + strlen(name) + 2);
    if (!list || !*name)
        return list; /* an empty name: nothing to try */
    char *out = list;
    if (strchr(name, '/')) {
        memcpy(out, name, strlen(name));
        return list;
    }
    for (;;) {
        size_t length = strcspn(path, ":");
        out += sprintf(out, "%.*s%s%s", (int)length, path, length > 0 ? "/" : "", name) + 1;
        if (!path[length])
            return list;
        path += length + 1;
    }
}

/* An unusable file in an early folder of PATH is the reason given, unless a later folder has a usable one. */
static int try_exec(const struct plan *plan)
{
    bool searched = !strchr(plan->options->argv[0], '/');
    int reason = ENOENT;
    for (char *path = plan->candidates; *path; path += strlen(path) + 1) {
        execve(path, plan->options->argv, plan->environment);
        if (reason == ENOENT && (errno != ENOTDIR || !searched))
            reason = errno;
    }
    return reason;
}

static int set_up_child(const struct plan *plan)
{
    const struct spawn_options *options = plan->options;
    setsid();
    for (int i = 0; i < 3; i++)
        if (dup2(options->stdio[i], i) < 0)
            return errno;
    for (int i = 0; i < 2; i++)
        if (options->keep[i] >= 0 && fcntl(options->keep[i], F_SETFD, 0) < 0)
            return errno;
    /* The agent is protected from the OOM killer; what it starts must not be. May fail outside a guest. */
    int adjust = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (adjust >= 0)
        (void)!write(adjust, "0", 1);
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGPIPE, &action, NULL);
    sigset_t mask;
    sigemptyset(&mask);
    if (options->blocked_signal)
        sigaddset(&mask, options->blocked_signal);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return 0;
}

_Noreturn static void run_child(const struct plan *plan)
{
    struct failure failure = {.error = set_up_child(plan)};
    if (!failure.error && plan->options->cwd && chdir(plan->options->cwd) < 0)
        failure = (struct failure){.error = errno, .of_cwd = 1};
    if (!failure.error)
        failure.error = try_exec(plan);
    (void)!write(plan->report, &failure, sizeof failure);
    _exit(127);
}

static int start(struct plan *plan, struct child *out, int *out_of_cwd)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return -errno;
    plan->report = report[1];
    pid_t pid = fork();
    if (pid == 0)
        run_child(plan);
    int error = errno;
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return -error;
    }
    struct failure failure;
    ssize_t got;
    do
        got = read(report[0], &failure, sizeof failure);
    while (got < 0 && errno == EINTR);
    close(report[0]);
    *out = (struct child){.pid = pid, .pidfd = -1};
    if (got == sizeof failure) {
        child_reap(out);
        if (out_of_cwd)
            *out_of_cwd = failure.of_cwd;
        return -failure.error;
    }
    out->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (out->pidfd < 0) {
        error = errno;
        child_kill(out);
        child_reap(out);
        return -error;
    }
    return 0;
}

int spawn(const struct spawn_options *options, struct child *out, int *out_of_cwd)
{
    if (out_of_cwd)
        *out_of_cwd = 0;
    struct plan plan = {.options = options, .environment = merge_environment(options->environment)};
    if (plan.environment)
        plan.candidates = list_candidates(options->argv[0], find_path(plan.environment));
    int status = plan.candidates ? start(&plan, out, out_of_cwd) : -ENOMEM;
    free(plan.candidates);
    free(plan.environment);
    return status;
}

void child_kill(const struct child *child)
{
    if (child->pid > 0)
        kill(-child->pid, SIGKILL);
}

int child_reap(struct child *child)
{
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (child->pidfd >= 0)
        close(child->pidfd);
    *child = (struct child){.pidfd = -1};
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void spawn_error_text(int error, const char *name, char *out, size_t size)
{
    const char *type = "OSError";
    if (error == ENOENT)
        type = "FileNotFoundError";
    else if (error == EACCES || error == EPERM)
        type = "PermissionError";
    else if (error == ENOTDIR)
        type = "NotADirectoryError";
    snprintf(out, size, "%s: [Errno %d] %s: '%.200s'", type, error, strerror(error), name);
}
