/* SPDX-License-Identifier: Apache-2.0 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
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
    int status; /* negative errno */
    enum { OF_PROGRAM, OF_FOLDER, OF_USER } of;
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

/* Ours, over it the image's, over that the request's. */
static char **merge_environment(const struct spawn_options *options)
{
    enum { LAYERS = 3 };
    char *const *layers[LAYERS] = {environ, options->image ? options->image->environment : NULL,
                                   options->environment};
    size_t count = 0;
    for (int i = 0; i < LAYERS; i++)
        for (char *const *variable = layers[i]; variable && *variable; variable++)
            count++;
    char **merged = calloc(count + 1, sizeof *merged);
    if (!merged)
        return NULL;
    size_t used = 0;
    for (int i = 0; i < LAYERS; i++) {
        for (char *const *variable = layers[i]; variable && *variable; variable++) {
            bool overridden = false;
            for (int over = i + 1; over < LAYERS && !overridden; over++)
                overridden = is_overridden(*variable, layers[over]);
            if (!overridden)
                merged[used++] = *variable;
        }
    }
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
    int status = -ENOENT;
    for (char *path = plan->candidates; *path; path += strlen(path) + 1) {
        execve(path, plan->options->argv, plan->environment);
        if (status == -ENOENT && (errno != ENOTDIR || !searched))
            status = -errno;
    }
    return status;
}

static int set_up_child(const struct plan *plan)
{
    const struct spawn_options *options = plan->options;
    setsid();
    for (int i = 0; i < 3; i++)
        if (dup2(options->stdio[i], i) < 0)
            return -errno;
    if (options->terminal && ioctl(0, TIOCSCTTY, 0) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        if (options->keep[i] >= 0 && fcntl(options->keep[i], F_SETFD, 0) < 0)
            return -errno;
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

static const char *folder_of(const struct spawn_options *options)
{
    if (options->cwd)
        return options->cwd;
    return options->image ? options->image->cwd : NULL;
}

/*
 * /dev/stdout is opened by its name, which asks for permission anew: pipes and a terminal are the user's, as
 * in Docker.
 */
static void give_stdio(const struct spawn_options *options)
{
    struct stat now;
    for (int i = 0; i < 3; i++)
        if (fstat(i, &now) == 0 && (S_ISFIFO(now.st_mode) || options->terminal))
            (void)!fchown(i, options->image->uid, (gid_t)-1);
}

/* By system calls of its own: libc's wrappers would look after threads that this process does not have. */
static int become(const struct image *image)
{
    if (syscall(SYS_setgroups, image->group_count, image->groups) < 0 ||
        syscall(SYS_setresgid, image->gid, image->gid, image->gid) < 0 ||
        syscall(SYS_setresuid, image->uid, image->uid, image->uid) < 0)
        return -errno;
    return 0;
}

_Noreturn static void run_child(const struct plan *plan)
{
    const struct image *image = plan->options->image;
    const char *folder = folder_of(plan->options);
    struct failure failure = {.status = set_up_child(plan)};
    /* Before the user changes, as Docker does it: the folder may be below one that is not the user's. */
    if (failure.status == 0 && folder && chdir(folder) < 0)
        failure = (struct failure){.status = -errno, .of = OF_FOLDER};
    if (failure.status == 0 && image)
        give_stdio(plan->options);
    if (failure.status == 0 && image)
        failure = (struct failure){.status = become(image), .of = OF_USER};
    if (failure.status == 0)
        failure = (struct failure){.status = try_exec(plan), .of = OF_PROGRAM};
    (void)!write(plan->report, &failure, sizeof failure);
    _exit(127);
}

int spawn_error(struct forkd_error *err, int code, const char *operation, const char *object)
{
    int error = code < 0 ? -code : code;
    const char *type = "OSError";
    if (error == ENOENT)
        type = "FileNotFoundError";
    else if (error == EACCES || error == EPERM)
        type = "PermissionError";
    else if (error == ENOTDIR)
        type = "NotADirectoryError";
    return error_say(err, error, operation, object, "%s: [Errno %d] %s: '%.200s'", type, error,
                     strerror(error), object);
}

static int say_failure(const struct plan *plan, const struct failure *failure, struct forkd_error *err)
{
    if (failure->of == OF_FOLDER)
        return spawn_error(err, failure->status, "enter", folder_of(plan->options));
    if (failure->of == OF_USER)
        return spawn_error(err, failure->status, "become", "the user of the image");
    return spawn_error(err, failure->status, SPAWN_PROGRAM, plan->options->argv[0]);
}

static int start(struct plan *plan, struct child *out, struct forkd_error *err)
{
    const char *name = plan->options->argv[0];
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return spawn_error(err, errno, SPAWN_PROGRAM, name);
    plan->report = report[1];
    pid_t pid = fork();
    if (pid == 0)
        run_child(plan);
    int error = errno;
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return spawn_error(err, error, SPAWN_PROGRAM, name);
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
        return say_failure(plan, &failure, err);
    }
    out->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (out->pidfd < 0) {
        error = errno;
        child_kill(out);
        child_reap(out);
        return spawn_error(err, error, SPAWN_PROGRAM, name);
    }
    return 0;
}

int spawn(const struct spawn_options *options, struct child *out, struct forkd_error *err)
{
    struct plan plan = {.options = options, .environment = merge_environment(options)};
    if (plan.environment)
        plan.candidates = list_candidates(options->argv[0], find_path(plan.environment));
    int status =
        plan.candidates ? start(&plan, out, err) : spawn_error(err, ENOMEM, SPAWN_PROGRAM, options->argv[0]);
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
