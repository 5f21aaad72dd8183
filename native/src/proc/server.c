/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/server.h"

#include "base/array.h"
#include "base/broker.h"
#include "base/channel.h"
#include "base/clock.h"
#include "base/listener.h"
#include "proc/cgroup.h"
#include "proc/confine.h"
#include "snapshot/files.h"
#include "snapshot/working_set.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PARK_PAUSE_MS 2
/* How long a detached branch that is not written waits for whoever is to fork children of it. */
#define UNWRITTEN_IDLE_MS 60000u
/* Signals, listener, writer, owner; the attached come after. */
#define POLLED_FIXED 4u
#define POLLED_FEW 16u

/* A child. What has to be tidied up after it when it is killed is the broker's. */
struct child {
    pid_t pid;
    bool parked;   /* waits for its request */
    bool detached; /* outlives us */
    int channel;   /* parked, in a detached server: where its request goes; -1 otherwise */
};

/* What a branch has its files written by. */
struct writer {
    pid_t pid;     /* 0: there is none (any more) */
    int channel;   /* where it says how it went; -1 likewise */
    int directory; /* where to */
};

struct server {
    int owner;     /* channel of who started us; -1: gone */
    int *attached; /* further channels */
    size_t attached_count;
    int listener;           /* -1: not detached, or no longer to be attached to */
    int listener_directory; /* where it has its name; -1: not detached */
    bool detached;
    bool is_twin;
    uint32_t idle_timeout_ms;
    uint64_t idle_since_us; /* 0: somebody needs us */
    int signals;
    struct vm *vm; /* loaded, never run: each child inherits it */
    struct child *children;
    size_t child_count;
    uint64_t child_capacity;
    uint32_t parked_wanted;
    uint32_t parked;  /* how many of the children are */
    bool cannot_park; /* as the last that was tried has shown; until a child is asked for */
    struct writer writer;
    enum forkd_write_state write_state;
    struct forkd_error write_error;
    int channels[BROKER_MAX_JOINING]; /* to the broker, of processes to come */
    uint32_t channel_count;
    struct pollfd *polled;         /* room for all descriptors: */
    struct pollfd few[POLLED_FEW]; /* here as long as they are few, with what else each fork(2) has to copy */
};

/* Who does not read is dropped, not waited for: poll(2) tells of the end of that channel. */
static void tell(int channel, const void *message, size_t length, const int *fds, uint32_t fd_count)
{
    if (channel_send(channel, CHANNEL_NOW, message, length, fds, fd_count, NULL) < 0)
        shutdown(channel, SHUT_RDWR);
}

/* The child cannot say it itself: there is none. */
static void report_failed_fork(int channel, const struct forkd_error *error)
{
    struct control_status message = {
        .header = {CONTROL_MAGIC, CONTROL_STATUS},
        .status = {.phase = FORKD_VM_ENDED, .end = FORKD_END_ERROR, .error = *error}};
    channel_send(channel, CHANNEL_NOW, &message, sizeof message, NULL, 0, NULL);
}

static int reserve_child(struct server *server, struct forkd_error *err)
{
    struct child *children =
        array_room(server->children, server->child_count + 1, &server->child_capacity, sizeof *children);
    if (children == NULL)
        return error_set(err, ENOMEM, "allocate", "table of children", NULL);
    server->children = children;
    return 0;
}

/* `fd_count` without the channel. */
static bool valid_fork(const struct control_fork *message, size_t length, uint32_t fd_count)
{
    return length == sizeof *message && message->header.magic == CONTROL_MAGIC &&
           message->header.type == CONTROL_FORK &&
           fd_count == 0u + message->has_console + message->has_tap + message->has_vsock +
                           2u * message->has_cgroup + 2u * message->has_listener;
}

static void close_if(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* A process that has the next one is there, or none is to have it. */
static void give_channel(struct server *server)
{
    close_if(server->channels[--server->channel_count]);
}

/* Whether the broker has hung up: when these were made there were as many as there may be. */
static bool is_refused(int channel)
{
    struct pollfd polled = {.fd = channel};
    return poll(&polled, 1, 0) == 1;
}

/* Has one more process know the broker before it is there: 0 or a negative errno. */
static int reserve_channel(struct server *server, struct forkd_error *err)
{
    while (server->channel_count > 0 && is_refused(server->channels[server->channel_count - 1]))
        give_channel(server);
    if (server->channel_count > 0)
        return 0;
    int rc = broker_invite(server->channels, BROKER_MAX_JOINING, err);
    if (rc < 0)
        return rc;
    server->channel_count = BROKER_MAX_JOINING;
    return 0;
}

/* The first steps of whatever is forked here, which has a channel reserved. It does not outlive its server;
 * nor may it start when the server died before this line. What is the server's is closed: a channel ends only
 * when nobody has it. */
static void leave_server(struct server *server, pid_t server_pid)
{
    /* Another user first: that undoes the next. */
    if (confine_to_own_user(NULL) < 0)
        _exit(1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != server_pid)
        _exit(1);
    close_if(server->owner);
    close_if(server->listener);
    close_if(server->listener_directory);
    close_if(server->writer.channel);
    close_if(server->writer.directory);
    close(server->signals);
    for (size_t i = 0; i < server->attached_count; i++)
        close(server->attached[i]);
    for (size_t i = 0; i < server->child_count; i++)
        close_if(server->children[i].channel);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* What is shared with siblings is shared with their guests. */
    uint32_t own = server->channel_count - 1;
    for (uint32_t i = 0; i < own; i++)
        close_if(server->channels[i]);
    if (broker_take(server->channels[own], NULL) < 0)
        _exit(1);
}

/* A parked child waits here for the request that it will serve: from the owner, or from the server, which
 * then sends the channel to the new owner along. One that lacked something does not wait: there may be enough
 * of it by then. */
static _Noreturn void wait_parked(struct server *server, int channel)
{
    vm_rehearse(server->vm);
    int timeout_ms = server->vm->status.error.code == 0 ? CHANNEL_FOREVER : CHANNEL_NOW;
    struct control_fork message;
    size_t length = 0;
    int fds[CONTROL_FORK_MAX_FDS];
    uint32_t fd_count = CONTROL_FORK_MAX_FDS;
    if (channel_receive(channel, timeout_ms, &message, sizeof message, &length, fds, &fd_count, NULL) <= 0)
        _exit(0);
    if (valid_fork(&message, length, fd_count))
        vm_process_child(server->vm, channel, &message, fds);
    if (fd_count == 0 || !valid_fork(&message, length, fd_count - 1))
        _exit(0);
    close(channel);
    vm_process_child(server->vm, fds[0], &message, fds + 1);
}

/*
 * fork(2), and note the child. In the parent: its entry in the table, or NULL and *err. In the child: returns
 * with *is_child set. `cgroup`: folder and cgroup.procs of the one that it is to be in, or NULL. A twin has
 * its source's user, who may not write there, as the library may that has opened the file: so its children
 * enter it.
 */
static struct child *fork_child(struct server *server, const int *cgroup, bool *is_child,
                                struct forkd_error *err)
{
    if (reserve_child(server, err) < 0 || reserve_channel(server, err) < 0)
        return NULL;
    pid_t server_pid = getpid();
    bool enters = cgroup != NULL && server->is_twin;
    pid_t pid = cgroup == NULL || enters ? fork() : cgroup_fork(cgroup[0]);
    *is_child = pid == 0;
    if (pid < 0) {
        error_set(err, errno, "fork", cgroup == NULL ? "fork server" : "fork server, into a cgroup", NULL);
        return NULL;
    }
    if (pid == 0) {
        leave_server(server, server_pid);
        vm_prepare(server->vm, enters ? cgroup[1] : -1);
        return NULL;
    }
    give_channel(server);
    struct child *child = &server->children[server->child_count++];
    *child = (struct child){.pid = pid, .channel = -1};
    return child;
}

/* Fork one child in advance. Its channel goes to the owner; a detached server, which serves many, keeps it.
 * What fails here may fail again, and is then reported, when a child is asked for. */
static void park_child(struct server *server)
{
    int pair[2];
    if (channel_pair(pair, NULL) < 0) {
        server->cannot_park = true;
        return;
    }
    bool is_child = false;
    struct child *child = fork_child(server, NULL, &is_child, NULL);
    if (is_child) {
        close(pair[0]);
        wait_parked(server, pair[1]);
    }
    close(pair[1]);
    if (child == NULL) {
        server->cannot_park = true;
        close(pair[0]);
        return;
    }
    child->parked = true;
    server->parked++;
    if (server->detached) {
        child->channel = pair[0];
        return;
    }
    struct control_parked message = {.header = {CONTROL_MAGIC, CONTROL_PARKED}, .pid = child->pid};
    tell(server->owner, &message, sizeof message, &pair[0], 1);
    close(pair[0]);
}

static void note_request(struct server *server, struct child *child)
{
    server->cannot_park = false;
    if (child->parked)
        server->parked--;
    child->parked = false;
    close_if(child->channel);
    child->channel = -1;
}

/* Pass the request on to a parked child that we have kept; NULL when there is none. */
static struct child *give_to_parked(struct server *server, const struct control_fork *message, const int *fds,
                                    uint32_t fd_count)
{
    for (size_t i = 0; i < server->child_count; i++) {
        struct child *child = &server->children[i];
        if (child->channel >= 0 &&
            channel_send(child->channel, CHANNEL_NOW, message, sizeof *message, fds, fd_count, NULL) == 0)
            return child;
    }
    return NULL;
}

/* The source of a branch goes on writing to a disk that it shares with nobody. */
static int check_disks(const struct server *server, struct forkd_error *err)
{
    const struct machine_config *config = &server->vm->machine.config;
    for (uint32_t i = 0; i < config->disk_count && server->is_twin; i++) {
        if (disk_mode(server->vm->machine.disks[i]) == FORKD_DISK_SHARED)
            return error_set(
                err, EBUSY, "fork", "branch",
                "its source writes to a volume, which no child of it can have before the branch is "
                "complete and the source has ended");
    }
    return 0;
}

/* fds: the new child's channel, and what the message says. */
static void serve_fork(struct server *server, const struct control_fork *message, const int *fds,
                       uint32_t fd_count)
{
    struct forkd_error error;
    if (check_disks(server, &error) < 0) {
        report_failed_fork(fds[0], &error);
        return;
    }
    bool is_child = false;
    const int *cgroup =
        message->has_cgroup ? fds + 1 + message->has_console + message->has_tap + message->has_vsock : NULL;
    struct child *child = cgroup != NULL ? NULL : give_to_parked(server, message, fds, fd_count);
    if (child == NULL)
        child = fork_child(server, cgroup, &is_child, &error);
    if (is_child)
        vm_process_child(server->vm, fds[0], message, fds + 1);
    if (child == NULL) {
        report_failed_fork(fds[0], &error);
        return;
    }
    child->detached = message->has_listener != 0;
    note_request(server, child);
}

static struct child *find_child(struct server *server, pid_t pid)
{
    for (size_t i = 0; i < server->child_count; i++) {
        if (server->children[i].pid == pid)
            return &server->children[i];
    }
    return NULL;
}

static void note_taken(struct server *server, const struct control_taken *message)
{
    struct child *child = find_child(server, message->pid);
    server->cannot_park = false;
    if (child == NULL || !child->parked) /* none: it was taken, ended and reaped before this came */
        return;
    child->detached = message->detached != 0;
    note_request(server, child);
}

static void remove_child(struct server *server, struct child *child)
{
    if (child->parked) { /* it lacked something, or somebody ends them: another would fare no better */
        server->parked--;
        server->cannot_park = true;
    }
    close_if(child->channel);
    *child = server->children[--server->child_count];
}

static void reap(struct server *server)
{
    struct signalfd_siginfo info;
    ssize_t ignored = read(server->signals, &info, sizeof info);
    (void)ignored;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid <= 0)
            return;
        struct child *child = find_child(server, pid);
        if (child != NULL)
            remove_child(server, child);
    }
}

/* --- being attached to ------------------------------------------------------------------------------------
 */

/* Children that somebody has asked for, and that need us. */
static uint32_t live_children(const struct server *server)
{
    uint32_t count = 0;
    for (size_t i = 0; i < server->child_count; i++)
        count += !server->children[i].parked && !server->children[i].detached;
    return count;
}

static void send_status(const struct server *server, int channel)
{
    if (channel < 0)
        return;
    struct control_server_status message = {
        .header = {CONTROL_MAGIC, CONTROL_SERVER_STATUS},
        .status = {.pid = getpid(),
                   .write_state = server->write_state,
                   .child_count = (uint32_t)server->child_count - server->parked,
                   .parked_count = server->parked,
                   .error = server->write_error}};
    tell(channel, &message, sizeof message, NULL, 0);
}

static void publish_status(const struct server *server)
{
    send_status(server, server->owner);
    for (size_t i = 0; i < server->attached_count; i++)
        send_status(server, server->attached[i]);
}

static int reserve_polled(struct server *server)
{
    size_t count = POLLED_FIXED + server->attached_count + 1;
    if (count <= POLLED_FEW)
        return 0;
    struct pollfd *larger =
        realloc(server->polled == server->few ? NULL : server->polled, count * sizeof *larger);
    if (larger == NULL)
        return -ENOMEM;
    server->polled = larger;
    return 0;
}

static void attach(struct server *server)
{
    int fd = listener_accept(server->listener);
    if (fd < 0)
        return;
    int *larger = realloc(server->attached, (server->attached_count + 1) * sizeof *larger);
    if (larger != NULL)
        server->attached = larger;
    if (larger == NULL || reserve_polled(server) < 0) {
        close(fd);
        return;
    }
    server->attached[server->attached_count++] = fd;
    send_status(server, fd);
}

/* --- writing a branch down --------------------------------------------------------------------------------
 */

static _Noreturn void write_files(const struct server *server, const struct twin *twin, int directory,
                                  int channel)
{
    const struct machine *machine = &server->vm->machine;
    struct snapshot_source source = {.vmstate = twin->state.data,
                                     .vmstate_length = twin->state.length,
                                     .memory = machine->memory.host,
                                     .memory_size = machine->memory.size,
                                     .memory_base_fd = server->vm->memory_fd,
                                     .disks = machine->disks,
                                     .disk_count = machine->config.disk_count,
                                     .over_base = twin->over_base};
    struct forkd_error error;
    int result = snapshot_write(&source, directory, &error);
    vm_send_reply(channel, result, &error);
    _exit(result < 0 ? 1 : 0);
}

static void end_writing(struct server *server, enum forkd_write_state state, const struct forkd_error *error)
{
    server->write_state = state;
    if (state == FORKD_WRITE_FAILED) {
        server->write_error = *error;
        snapshot_remove(server->vm->machine.config.disk_count, server->writer.directory);
    }
    close_if(server->writer.channel);
    close(server->writer.directory);
    server->writer = (struct writer){.channel = -1, .directory = -1};
    /* Who comes from now on finds the files, and a server that shares more with its children. */
    if (server->listener >= 0) {
        broker_unlisten(server->listener, server->listener_directory);
        close(server->listener);
        server->listener = -1;
    }
    publish_status(server);
}

/* In a process of its own, which inherits everything as it is, while this one serves. */
static void start_writing(struct server *server, const struct twin *twin)
{
    int pair[2] = {-1, -1};
    struct forkd_error error;
    server->write_state = FORKD_WRITING;
    server->writer = (struct writer){.channel = -1, .directory = twin->directory};
    int result = reserve_channel(server, &error);
    if (result == 0)
        result = channel_pair(pair, &error);
    if (result < 0) {
        end_writing(server, FORKD_WRITE_FAILED, &error);
        return;
    }
    pid_t server_pid = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        server->writer.directory = -1;
        leave_server(server, server_pid);
        close(pair[0]);
        write_files(server, twin, twin->directory, pair[1]);
    }
    int code = errno;
    close(pair[1]);
    server->writer.channel = pair[0];
    server->writer.pid = pid;
    if (pid > 0)
        give_channel(server);
    if (pid < 0) {
        error_set(&error, code, "fork", "writer of the branch", NULL);
        end_writing(server, FORKD_WRITE_FAILED, &error);
    }
}

static void hear_writer(struct server *server)
{
    struct control_reply reply;
    size_t length = 0;
    uint32_t no_fds = 0;
    int got = channel_receive(server->writer.channel, CHANNEL_NOW, &reply, sizeof reply, &length, NULL,
                              &no_fds, NULL);
    if (got == -EAGAIN)
        return;
    if (got <= 0 || length != sizeof reply)
        error_set(&reply.error, EPIPE, "write", "branch", "the process that wrote it was killed");
    end_writing(server, reply.error.code == 0 ? FORKD_WRITTEN : FORKD_WRITE_FAILED, &reply.error);
}

/* --- living and ending ------------------------------------------------------------------------------------
 */

/* All but those that outlive us. */
static void kill_children(struct server *server)
{
    pid_t *pids = calloc(server->child_count + 1, sizeof *pids);
    size_t count = 0;
    for (size_t i = 0; pids != NULL && i < server->child_count; i++) {
        if (!server->children[i].detached)
            pids[count++] = server->children[i].pid;
    }
    /* Where that fails the kernel ends them with us, a little later (PR_SET_PDEATHSIG). */
    if (broker_kill(pids, count) < 0)
        count = 0;
    for (size_t i = 0; i < count; i++)
        waitpid(pids[i], NULL, 0);
}

/* Nobody needs this server any more: nobody may find a child of it either, or its socket, or half a branch.
 */
static _Noreturn void end(struct server *server)
{
    if (server->listener >= 0)
        broker_unlisten(server->listener, server->listener_directory);
    if (server->writer.pid > 0) {
        broker_kill(&server->writer.pid, 1);
        waitpid(server->writer.pid, NULL, 0);
        snapshot_remove(server->vm->machine.config.disk_count, server->writer.directory);
    }
    kill_children(server);
    broker_tidy();
    _exit(0);
}

static bool is_needed(const struct server *server)
{
    return server->owner >= 0 || server->attached_count > 0 || server->writer.channel >= 0 ||
           live_children(server) > 0;
}

/* Ends a server that nobody needs; otherwise the time after which to look again, -1: when something happens.
 */
static int check_idle(struct server *server)
{
    if (!server->detached) {
        if (server->owner < 0)
            end(server);
        return -1;
    }
    if (is_needed(server)) {
        server->idle_since_us = 0;
        return -1;
    }
    uint64_t now = clock_now_us();
    if (server->idle_since_us == 0)
        server->idle_since_us = now;
    uint64_t limit_us = server->listener < 0 ? 0 : server->idle_timeout_ms * 1000ull;
    uint64_t idle_us = now - server->idle_since_us;
    if (idle_us >= limit_us)
        end(server);
    uint64_t left_ms = (limit_us - idle_us) / 1000 + 1;
    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

/* What a server is sent. Small: each page of stack that the server has written to since its last fork(2) is
 * one to copy. */
union request {
    struct control_header header;
    struct control_fork fork;
    struct control_taken taken;
};

/* False: the other end is gone. */
static bool receive(struct server *server, int channel)
{
    union request message;
    size_t length = 0;
    int fds[CHANNEL_MAX_FDS];
    uint32_t fd_count = CHANNEL_MAX_FDS;
    int got = channel_receive(channel, CHANNEL_NOW, &message, sizeof message, &length, fds, &fd_count, NULL);
    if (got == 0)
        return false;
    if (got < 0)
        return true;
    if (fd_count > 0 && valid_fork(&message.fork, length, fd_count - 1)) {
        serve_fork(server, &message.fork, fds, fd_count);
    } else if (length == sizeof message.taken && message.header.magic == CONTROL_MAGIC &&
               message.header.type == CONTROL_TAKEN) {
        note_taken(server, &message.taken);
    } else if (length == sizeof message.header && message.header.magic == CONTROL_MAGIC &&
               message.header.type == CONTROL_SERVER_STATUS) {
        send_status(server, channel);
    }
    for (uint32_t i = 0; i < fd_count; i++)
        close(fds[i]);
    return true;
}

/* What both kinds of server begin with. */
static int start(struct server *server, const char *name, struct forkd_error *err)
{
    prctl(PR_SET_NAME, name);
    sigset_t child_signal;
    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_signal, NULL);
    server->signals = signalfd(-1, &child_signal, SFD_CLOEXEC | SFD_NONBLOCK);
    if (server->signals < 0)
        return error_set(err, errno, "signalfd", "fork server", NULL);
    return 0;
}

static void fill_polled(struct server *server)
{
    server->polled[0] = (struct pollfd){.fd = server->signals, .events = POLLIN};
    server->polled[1] = (struct pollfd){.fd = server->listener, .events = POLLIN};
    server->polled[2] = (struct pollfd){.fd = server->writer.channel, .events = POLLIN};
    server->polled[3] = (struct pollfd){.fd = server->owner, .events = POLLIN};
    for (size_t i = 0; i < server->attached_count; i++)
        server->polled[POLLED_FIXED + i] = (struct pollfd){.fd = server->attached[i], .events = POLLIN};
}

/* As fill_polled laid them out. What is handled last is what changes the layout. */
static void handle_polled(struct server *server)
{
    const struct pollfd *polled = server->polled;
    if (polled[0].revents != 0)
        reap(server);
    if (polled[3].revents != 0 && !receive(server, server->owner)) {
        close(server->owner);
        server->owner = -1;
    }
    for (size_t i = server->attached_count; i > 0; i--) {
        if (polled[POLLED_FIXED + i - 1].revents == 0 || receive(server, server->attached[i - 1]))
            continue;
        close(server->attached[i - 1]);
        server->attached[i - 1] = server->attached[--server->attached_count];
    }
    if (polled[2].revents != 0)
        hear_writer(server);
    else if (polled[1].revents != 0)
        attach(server);
}

static _Noreturn void run(struct server *server)
{
    int pause_ms = 0;
    for (;;) {
        /* Requests first. With nothing to do, one child at a time is parked; but not at once after a request,
         * whose child needs the processors. */
        int timeout_ms = check_idle(server);
        bool parking = server->parked < server->parked_wanted && !server->cannot_park;
        fill_polled(server);
        int ready =
            poll(server->polled, POLLED_FIXED + server->attached_count, parking ? pause_ms : timeout_ms);
        if (ready == 0 && parking) {
            park_child(server);
            pause_ms = 0;
        }
        if (ready <= 0)
            continue;
        pause_ms = PARK_PAUSE_MS;
        handle_polled(server);
    }
}

/* A process whose parent has gone is nobody's to wait for. */
static void leave_starter(int channel)
{
    pid_t pid = fork();
    if (pid > 0)
        _exit(0);
    struct forkd_error error;
    if (pid < 0) {
        vm_send_reply(channel, error_set(&error, errno, "fork", "fork server", NULL), &error);
        _exit(1);
    }
}

/* Allocated, since a twin may be the twin of a VM whose server was one. */
static struct server *make(struct vm *vm, int channel, int listener_directory, int listener)
{
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL)
        _exit(1);
    vm_own_process(vm);
    server->polled = server->few;
    server->vm = vm;
    server->owner = channel;
    server->listener_directory = listener_directory;
    server->listener = listener;
    server->detached = listener >= 0;
    server->writer = (struct writer){.channel = -1, .directory = -1};
    return server;
}

/* So that what is cold comes from the disk in one go. The children read the set themselves, when they need
 * it: it may not be learnt yet. */
static void fetch_working_set(const struct vm *vm)
{
    struct working_set set;
    if (vm->working_set_fd < 0 || working_set_read(vm->working_set_fd, vm->machine.memory.size, &set) < 0)
        return;
    working_set_fetch(&set, vm->memory_fd);
    working_set_free(&set);
}

_Noreturn void server_process(int channel, const struct control_serve *message, const int *fds,
                              uint32_t fd_count)
{
    static _Alignas(GUEST_PAGE_SIZE) struct vm vm; /* see VM_LOOP_STACK_SIZE */
    bool detached = message->has_listener && fd_count > 4;
    struct server *server = make(&vm, channel, detached ? fds[3] : -1, detached ? fds[4] : -1);
    if (server->detached)
        leave_starter(channel);
    server->idle_timeout_ms = message->idle_timeout_ms;
    struct forkd_error error;
    int result = vm_load(&vm, message, fds, fd_count, &error);
    if (result == 0)
        result = start(server, "forkd-server", &error);
    vm_send_reply(channel, result, &error);
    if (result < 0)
        _exit(1);
    if (server->detached) {
        vm_detach_process();
        send_status(server, channel); /* our pid is not the one that was started */
    }
    close(fds[1]); /* vmstate is decoded */
    fetch_working_set(&vm);
    server->parked_wanted = message->parked_count;
    run(server);
}

_Noreturn void server_process_twin(struct vm *vm, const struct twin *twin, int result,
                                   const struct forkd_error *error)
{
    struct server *server = make(vm, twin->channel, twin->listener_directory, twin->listener);
    server->is_twin = true;
    server->writer.directory = twin->directory;
    struct forkd_error started;
    if (result == 0 && (result = start(server, "forkd-twin", &started)) < 0)
        error = &started;
    if (result < 0) {
        end_writing(server, FORKD_WRITE_FAILED, error);
        _exit(1);
    }
    if (twin->unwritten) {
        server->write_state = FORKD_WRITING; /* there never is anything */
        server->idle_timeout_ms = UNWRITTEN_IDLE_MS;
    } else {
        start_writing(server, twin);
    }
    run(server);
}
