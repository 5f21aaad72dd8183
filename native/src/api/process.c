/* SPDX-License-Identifier: Apache-2.0 */
#include "api/handle.h"

#include "api/tap.h"
#include "base/channel.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ERRNO 4095 /* the kernel's */

int fd_list_open(struct fd_list *list, const char *path, int flags, const char *what, struct forkd_error *err)
{
    if (list->count == CHANNEL_MAX_FDS)
        return error_set(err, EINVAL, "open", what, "too many files");
    /* Not waiting: a FIFO, which is none of what is opened here, would have us wait for its other end. */
    int fd = path == NULL ? -1 : open(path, flags | O_CLOEXEC | O_NONBLOCK, 0644);
    if (fd < 0)
        return path == NULL ? error_set(err, EINVAL, "open", what, "no path given")
                            : error_set(err, errno, "open", path, "the %s", what);
    list->fds[list->count++] = fd;
    return 0;
}

int fd_list_open_scratch(struct fd_list *list, const char *path, struct forkd_error *err)
{
    return fd_list_open(list, path == NULL ? "/var/tmp" : path, O_RDONLY | O_DIRECTORY, "scratch folder",
                        err);
}

/*
 * Held as long as a process has the open file: flock(2)'s locks belong to that, so they go along in messages
 * and through fork(2), and stand against the same image opened once more, by whatever name, in the same guest
 * too.
 */
static int hold_image(int fd, const char *path, uint32_t mode, struct forkd_error *err)
{
    bool writes = mode == FORKD_DISK_SHARED;
    if (flock(fd, (writes ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return error_set(err, EBUSY, "attach disk", path, "%s",
                         writes ? "who writes to an image must have it alone, and a VM uses it"
                                : "a VM that writes to it has it attached");
    /* Where images cannot be locked nobody gets one for writing, so a reader has nobody to be kept from. */
    if (!writes && (errno == EOPNOTSUPP || errno == ENOLCK || errno == ENOSYS))
        return 0;
    return error_set(err, errno, "lock disk", path,
                     "an image that is written to has to be on a file system with flock(2)");
}

static int open_disk(struct fd_list *list, const struct forkd_disk *disk, bool with_layers,
                     struct forkd_error *err)
{
    const char *name = disk->path == NULL ? "disk" : disk->path;
    if (disk->mode > FORKD_DISK_SHARED)
        return error_set(err, EINVAL, "check", name, "unknown mode");
    int result = check_reserved(disk->reserved, 6, err);
    if (result < 0)
        return result;
    if (disk->layer_count > FORKD_MAX_LAYERS)
        return error_set(err, EINVAL, "check", name, "%u layers; at most %d", disk->layer_count,
                         FORKD_MAX_LAYERS);
    if (disk->layer_count > 0 && (!with_layers || disk->mode == FORKD_DISK_SHARED))
        return error_set(err, EINVAL, "check", name, "a layer does not belong here");
    int flags = disk->mode == FORKD_DISK_SHARED ? O_RDWR : O_RDONLY;
    result = fd_list_open(list, disk->path, flags, "disk image", err);
    if (result == 0)
        result = hold_image(list->fds[list->count - 1], disk->path, disk->mode, err);
    /* Layers need no lock: nobody writes to one again. */
    for (uint32_t i = 0; i < disk->layer_count && result == 0; i++)
        result = fd_list_open(list, disk->layer_paths[i], O_RDONLY, "disk layer", err);
    return result;
}

int fd_list_open_disks(struct fd_list *list, const struct forkd_disk *disks, uint32_t count, uint32_t *modes,
                       uint32_t *layer_counts, struct forkd_error *err)
{
    if (count > FORKD_MAX_DISKS || (count > 0 && disks == NULL))
        return error_set(err, EINVAL, "check", "disks", "%u given; at most %d", count, FORKD_MAX_DISKS);
    for (uint32_t i = 0; i < count; i++) {
        int result = open_disk(list, &disks[i], layer_counts != NULL, err);
        if (result < 0)
            return result;
        modes[i] = disks[i].mode;
        if (layer_counts != NULL)
            layer_counts[i] = disks[i].layer_count;
    }
    return 0;
}

int fd_list_open_folder_of(struct fd_list *list, const char *path, struct forkd_error *err)
{
    char folder[CONTROL_PATH_SIZE];
    if (path == NULL)
        return 0;
    if (strlen(path) >= sizeof folder || path[0] == '\0')
        return error_set(err, EINVAL, "check", path, "a socket's path has 1 to %zu bytes", sizeof folder - 1);
    path_folder(path, folder, sizeof folder); /* shorter than the path */
    return fd_list_open(list, folder, O_PATH | O_DIRECTORY, "folder of a socket", err);
}

int fd_list_open_tap(struct fd_list *list, const char *name, const char *netns_path, struct forkd_error *err)
{
    int netns = -1;
    if (strlen(name) >= IFNAMSIZ)
        return error_set(err, EINVAL, "check", "tap_name", "%zu bytes; the limit is %d", strlen(name),
                         IFNAMSIZ - 1);
    if (netns_path != NULL) {
        int result = fd_list_open(list, netns_path, O_RDONLY, "network namespace", err);
        if (result < 0)
            return result;
        netns = list->fds[--list->count];
    }
    int tap = list->count == CHANNEL_MAX_FDS ? error_set(err, EINVAL, "open", name, "too many files")
                                             : tap_open(name, netns, err);
    if (netns >= 0)
        close(netns);
    if (tap < 0)
        return tap;
    list->fds[list->count++] = tap;
    return 0;
}

int fd_list_open_cgroup(struct fd_list *list, const char *path, bool with_folder, struct forkd_error *err)
{
    char procs[PATH_MAX];
    struct statfs info;
    if (path == NULL)
        return 0;
    if (snprintf(procs, sizeof procs, "%s/cgroup.procs", path) >= (int)sizeof procs)
        return error_set(err, ENAMETOOLONG, "open", "cgroup", NULL);
    /* In any other folder that would be an ordinary file. */
    if (statfs(path, &info) < 0)
        return error_set(err, errno, "open", path, "the cgroup");
    if (info.f_type != CGROUP2_SUPER_MAGIC)
        return error_set(err, EINVAL, "check", path, "it is no cgroup of version 2");
    int result = with_folder ? fd_list_open(list, path, O_PATH | O_DIRECTORY, "cgroup", err) : 0;
    return result < 0 ? result : fd_list_open(list, procs, O_WRONLY, "cgroup", err);
}

int fd_list_listen(struct fd_list *list, const char *path, struct forkd_error *err)
{
    int result = fd_list_open_folder_of(list, path, err);
    if (path == NULL || result < 0)
        return result;
    if (list->count == CHANNEL_MAX_FDS)
        return error_set(err, EINVAL, "open", path, "too many files");
    int fd = channel_listen(path, err);
    if (fd < 0)
        return fd;
    list->fds[list->count++] = fd;
    return 0;
}

void fd_list_close(struct fd_list *list)
{
    while (list->count > 0)
        close(list->fds[--list->count]);
}

int copy_option(char *to, size_t size, const char *from, const char *name, struct forkd_error *err)
{
    size_t length = from == NULL ? 0 : strlen(from);
    if (length >= size)
        return error_set(err, EINVAL, "check", name, "%zu bytes; the limit is %zu", length, size - 1);
    memset(to, 0, size);
    snprintf(to, size, "%s", from == NULL ? "" : from);
    return 0;
}

int check_reserved(const uint64_t *reserved, size_t count, struct forkd_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (reserved[i] != 0)
            return error_set(err, EINVAL, "check", "options", "a reserved field is not zero");
    }
    return 0;
}

static int check_limit(const char *name, uint64_t value, uint64_t least, uint64_t most,
                       struct forkd_error *err)
{
    if (value == 0 || (value >= least && value <= most))
        return 0;
    return error_set(err, EINVAL, "check", name, "%llu is out of range: %llu to %llu, or 0 for the default",
                     (unsigned long long)value, (unsigned long long)least, (unsigned long long)most);
}

int copy_limits(struct forkd_limits *to, const struct forkd_limits *from, struct forkd_error *err)
{
    int result = check_reserved(from->reserved, 8, err);
    if (result == 0 && from->reserved32 != 0)
        result = error_set(err, EINVAL, "check", "limits", "a reserved field is not zero");
    if (result < 0 ||
        (result = check_limit("console_bytes", from->console_bytes, 4096, FORKD_CONSOLE_MOST, err)) < 0 ||
        (result = check_limit("disk_bytes", from->disk_bytes, 4096, FORKD_UNLIMITED, err)) < 0 ||
        (result = check_limit("vsock_buffer_bytes", from->vsock_buffer_bytes, 262144, FORKD_UNLIMITED, err)) <
            0 ||
        (result = check_limit("vsock_connections", from->vsock_connections, 1, FORKD_MAX_VSOCK_CONNECTIONS,
                              err)) < 0)
        return result;
    *to = *from;
    return 0;
}

/* A session of its own, so that a Ctrl-C in the terminal reaches the owner only, who then ends us in order;
 * and nothing but the channel and stderr. */
static int spawn(const char *vmm_path, int channel, pid_t *process)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, channel, CONTROL_FD);
    posix_spawn_file_actions_addclosefrom_np(&actions, CONTROL_FD + 1);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    char *arguments[] = {"forkd-vmm", NULL};
    char *environment[] = {NULL};
    int code = posix_spawn(process, vmm_path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

int process_start(const char *vmm_path, int *channel, pid_t *process, struct forkd_error *err)
{
    if (vmm_path == NULL)
        return error_set(err, EINVAL, "start", "forkd-vmm", "vmm_path is not set");
    int pair[2];
    int result = channel_pair(pair, err);
    if (result < 0)
        return result;
    channel_ask_sender(pair[0], NULL);
    /* dup2 onto itself would leave close-on-exec set. */
    if (pair[1] == CONTROL_FD) {
        int moved = fcntl(pair[1], F_DUPFD_CLOEXEC, CONTROL_FD + 1);
        close(pair[1]);
        pair[1] = moved;
    }
    int code = spawn(vmm_path, pair[1], process);
    close(pair[1]);
    if (code != 0) {
        close(pair[0]);
        return error_set(err, code, "start", vmm_path, NULL);
    }
    *channel = pair[0];
    return 0;
}

int process_open(pid_t process, int channel)
{
    int pidfd = process == 0 ? -1 : (int)syscall(SYS_pidfd_open, process, 0);
    /* As long as the other end of the channel is open, the process lives and the pid is its own. */
    struct pollfd polled = {.fd = channel, .events = 0};
    if (pidfd < 0 || poll(&polled, 1, 0) == 0)
        return pidfd;
    close(pidfd);
    return -1;
}

static bool is_gone(int pidfd)
{
    return io_wait(pidfd, POLLIN, clock_now_ms() + PROCESS_AWAIT_MS) == 0;
}

bool process_await(int pidfd)
{
    bool gone = pidfd < 0 || is_gone(pidfd);
    if (pidfd >= 0)
        close(pidfd);
    return gone;
}

/* The same, of one that has been told to end by itself. */
static bool await_or_kill(int pidfd)
{
    if (pidfd >= 0 && !is_gone(pidfd))
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    return process_await(pidfd);
}

void process_end(int channel, pid_t process, bool now)
{
    int pidfd = (int)syscall(SYS_pidfd_open, process, 0);
    if (now)
        kill(process, SIGKILL);
    close(channel);
    if (!await_or_kill(pidfd))
        return;
    while (waitpid(process, NULL, 0) < 0 && errno == EINTR)
        ;
}

void process_let_end(int channel, pid_t process)
{
    int pidfd = process_open(process, channel);
    shutdown(channel, SHUT_WR);
    await_or_kill(pidfd);
    close(channel);
}

int no_answer(const char *control_path, struct forkd_error *err)
{
    return error_set(err, ETIMEDOUT, "attach to", control_path,
                     "no answer in %d ms: the process behind it is stopped, or has too much to do",
                     ATTACH_TIMEOUT_MS);
}

/* The part of a text that can be shown, also on a terminal. */
static void clean(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
        bool control = *c < ' ' || *c == 0x7f;
        bool control_in_utf8 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
        if (control || control_in_utf8)
            *c = '?';
        if (control_in_utf8)
            *++c = '?';
    }
}

static void clean_error(struct forkd_error *error)
{
    if (error->code > 0 || error->code < -MAX_ERRNO)
        error->code = -EPROTO;
    clean(error->operation, sizeof error->operation);
    clean(error->object, sizeof error->object);
    clean(error->text, sizeof error->text);
}

static void clean_status(struct forkd_vm_status *status, pid_t sender)
{
    status->pid = sender;
    status->start_time = 0; /* is looked up */
    if (status->phase > FORKD_VM_ENDED)
        status->phase = FORKD_VM_ENDED;
    if (status->end > FORKD_END_ERROR)
        status->end = FORKD_END_ERROR;
    clean_error(&status->error);
}

static void clean_server_status(struct forkd_server_status *status, pid_t sender)
{
    status->pid = sender;
    if (status->write_state > FORKD_WRITE_FAILED)
        status->write_state = FORKD_WRITE_FAILED;
    clean_error(&status->error);
}

int receive_message(int channel, int timeout_ms, pid_t server, union control_message *message, size_t *length,
                    int *fd, uint32_t *fd_count, struct forkd_error *err)
{
    pid_t sender = 0;
    message->header = (struct control_header){0};
    int got = channel_receive_from(channel, timeout_ms, message, sizeof *message, length, fd, fd_count,
                                   &sender, err);
    if (got <= 0)
        return got;
    if (sender == server)
        sender = 0;
    if (message->header.type == CONTROL_STATUS && *length == sizeof message->status)
        clean_status(&message->status.status, sender);
    else if (message->header.type == CONTROL_REPLY && *length == sizeof message->reply)
        clean_error(&message->reply.error);
    else if (message->header.type == CONTROL_SERVER_STATUS && *length == sizeof message->server_status)
        clean_server_status(&message->server_status.status, sender);
    return got;
}

void keep_status(struct forkd_vm_status *status, const struct forkd_vm_status *said)
{
    uint64_t start_time = status->pid == said->pid ? status->start_time : 0;
    *status = *said;
    status->start_time = start_time;
}

int receive_reply(int channel, int timeout_ms, pid_t server, uint32_t *unanswered,
                  struct forkd_vm_status *status, struct forkd_branch_result *branch, struct forkd_error *err)
{
    int64_t deadline = clock_now_ms() + timeout_ms;
    for (;;) {
        union control_message message;
        size_t length = 0;
        uint32_t no_fds = 0;
        int64_t left = deadline - clock_now_ms();
        int got =
            receive_message(channel, left < 1 ? 1 : (int)left, server, &message, &length, NULL, &no_fds, err);
        if (got < 0)
            return got;
        if (got == 0)
            return error_set(err, EPIPE, "receive", "control channel", "the forkd-vmm process died");
        if (message.header.type == CONTROL_STATUS && length == sizeof message.status) {
            if (status != NULL)
                keep_status(status, &message.status.status);
            continue;
        }
        if (message.header.type != CONTROL_REPLY || length != sizeof message.reply)
            return error_set(err, EPROTO, "receive", "control channel", "unexpected message");
        if (--*unanswered > 0)
            continue;
        if (branch != NULL)
            *branch = message.reply.branch;
        if (message.reply.error.code != 0 && err != NULL)
            *err = message.reply.error;
        return message.reply.error.code;
    }
}
