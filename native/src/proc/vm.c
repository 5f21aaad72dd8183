/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/vm.h"

#include "base/channel.h"
#include "base/io.h"
#include "base/listener.h"
#include "base/process.h"
#include "proc/tap.h"
#include "proc/twin.h"
#include "snapshot/files.h"
#include "snapshot/memory_image.h"
#include "snapshot/working_set.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NAME_SIZE 32
#define MAX_REQUEST_FDS 3

uint64_t vm_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static struct vm *of_machine(struct machine *machine)
{
    return container_of(machine, struct vm, machine);
}

/* --- telling the owner ------------------------------------------------------------------------------------
 */

/* The lock is held: who does not read is dropped, not waited for. That, too, is noticed on the peer's watch.
 */
static void tell(const struct vm_peer *peer, const void *message, size_t length)
{
    if (channel_send(peer->fd, CHANNEL_NOW, message, length, NULL, 0, NULL) < 0)
        shutdown(peer->fd, SHUT_RDWR);
}

static void send_status(const struct vm_peer *peer)
{
    struct control_status message = {.header = {CONTROL_MAGIC, CONTROL_STATUS}, .status = peer->vm->status};
    tell(peer, &message, sizeof message);
}

static void publish_status(struct vm *vm)
{
    for (const struct vm_peer *peer = vm->peers; peer != NULL; peer = peer->next)
        send_status(peer);
}

void vm_send_reply(int channel, int result, const struct forkd_error *error)
{
    struct control_reply reply = {.header = {CONTROL_MAGIC, CONTROL_REPLY}};
    if (result < 0)
        reply.error = *error;
    channel_send(channel, CHANNEL_NOW, &reply, sizeof reply, NULL, 0, NULL);
}

static void on_ended(struct machine *machine)
{
    struct vm *vm = of_machine(machine);
    vm->status.phase = FORKD_VM_ENDED;
    vm->status.end = machine->end;
    vm->status.error = machine->error;
    publish_status(vm);
    machine->loop.stop = true;
    machine->bus.wake(&machine->bus);
}

static void fail(struct vm *vm, const struct forkd_error *error)
{
    machine_finish(&vm->machine, FORKD_END_ERROR, error);
}

static _Noreturn void leave(struct vm *vm)
{
    if (vm->vsock_fd >= 0)
        listener_unlink(vm->vsock_fd);
    if (vm->listener_watch.fd >= 0)
        listener_unlink(vm->listener_watch.fd);
    _exit(vm->status.end == FORKD_END_ERROR || vm->status.end == FORKD_END_CRASH ? 1 : 0);
}

/* --- peers ------------------------------------------------------------------------------------------------
 */

static void on_peer(struct loop_watch *watch, uint32_t events);

static int add_peer(struct vm *vm, struct vm_peer *peer, int fd, struct forkd_error *err)
{
    *peer = (struct vm_peer){.vm = vm, .fd = fd, .watch = {.fd = -1, .ready = on_peer}, .next = vm->peers};
    int result = loop_add(&vm->machine.loop, &peer->watch, fd, EPOLLIN, err);
    if (result == 0)
        vm->peers = peer;
    return result;
}

/* Without anybody who holds it, a VM that is not detached ends. */
static void remove_peer(struct vm_peer *peer)
{
    struct vm *vm = peer->vm;
    if (vm->listener_watch.fd < 0)
        leave(vm);
    struct vm_peer **link = &vm->peers;
    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    loop_remove(&vm->machine.loop, &peer->watch);
    close(peer->fd);
    if (peer != &vm->owner)
        free(peer);
}

/* --- ready ------------------------------------------------------------------------------------------------
 */

static int listen_vsock(struct vm *vm, struct forkd_error *err)
{
    if (vm->vsock_path[0] == '\0')
        return 0;
    int fd = listener_open(vm->vsock_path, SOCK_STREAM | SOCK_NONBLOCK, 0, err);
    if (fd < 0)
        return fd;
    int result = vsock_listen(vm->machine.vsock, fd, err);
    if (result < 0)
        unlink(vm->vsock_path);
    else
        vm->vsock_fd = fd;
    return result;
}

/* The timer itself stays: to close it costs more. A booted machine has none. */
static void disarm_deadline(const struct vm *vm)
{
    static const struct itimerspec never;
    if (vm->deadline_watch.fd >= 0)
        timerfd_settime(vm->deadline_watch.fd, 0, &never, NULL);
}

/* From here on the guest is open to the owner. */
static void become_ready(struct vm *vm)
{
    struct forkd_error error;
    if (listen_vsock(vm, &error) < 0) {
        fail(vm, &error);
        return;
    }
    disarm_deadline(vm);
    if (vm->machine.net != NULL)
        net_hold(vm->machine.net, false);
    vm->status.phase = FORKD_VM_READY;
    if (vm->started_us != 0)
        vm->status.ready_us = vm_now_us() - vm->started_us;
    publish_status(vm);
}

static void on_guest_ready(struct machine *machine)
{
    struct vm *vm = of_machine(machine);
    if ((vm->flags & FORKD_NO_AGENT) != 0 && vm->status.phase == FORKD_VM_STARTING)
        become_ready(vm);
}

/* --- the agent's two messages -----------------------------------------------------------------------------
 */

static void exchange_close(struct vm *vm)
{
    int fd = vm->exchange.watch.fd;
    loop_remove(&vm->machine.loop, &vm->exchange.watch);
    close(fd);
}

/* 1: complete; 0: more to come; -1: broken off, and closed. */
static int exchange_read(struct vm *vm)
{
    struct exchange *exchange = &vm->exchange;
    ssize_t got = recv(exchange->watch.fd, exchange->data.bytes + exchange->received,
                       exchange->expected - exchange->received, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0) {
        exchange_close(vm);
        return -1;
    }
    exchange->received += (size_t)got;
    return exchange->received == exchange->expected ? 1 : 0;
}

static void on_hello(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm *vm = container_of(watch, struct vm, exchange.watch);
    int state = exchange_read(vm);
    if (state <= 0)
        return; /* an agent that broke off may try again */
    exchange_close(vm);
    struct guest_hello *hello = &vm->exchange.data.hello;
    hello->message[sizeof hello->message - 1] = '\0';
    if (hello->magic != GUEST_HELLO_MAGIC || hello->version != GUEST_PROTOCOL_VERSION || hello->status != 0) {
        struct forkd_error error;
        bool ours = hello->magic == GUEST_HELLO_MAGIC && hello->version == GUEST_PROTOCOL_VERSION;
        error_set(&error, ours && hello->status < 4096 ? (int)hello->status : EPROTO, "start", "guest agent",
                  "%s", ours ? hello->message : "it speaks another version of the protocol");
        fail(vm, &error);
        return;
    }
    if (vm->status.phase == FORKD_VM_STARTING)
        become_ready(vm);
}

static void on_identity_ack(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm *vm = container_of(watch, struct vm, exchange.watch);
    int state = exchange_read(vm);
    if (state == 0)
        return;
    struct forkd_error error;
    if (state < 0) {
        error_set(&error, EPIPE, "set identity", "guest agent", "it closed the connection without an answer");
        fail(vm, &error);
        return;
    }
    exchange_close(vm);
    struct guest_identity_ack *ack = &vm->exchange.data.ack;
    ack->message[sizeof ack->message - 1] = '\0';
    if (ack->magic != GUEST_IDENTITY_MAGIC || ack->generation != vm->machine.config.generation ||
        ack->status != 0) {
        error_set(&error, ack->status != 0 && ack->status < 4096 ? (int)ack->status : EPROTO, "set identity",
                  "guest agent", "%s", ack->message);
        fail(vm, &error);
        return;
    }
    become_ready(vm);
}

/* Our end of a new stream to the agent is watched; the other end is returned for the vsock device. */
static int exchange_open(struct vm *vm, size_t expected, void (*ready)(struct loop_watch *, uint32_t),
                         struct forkd_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return error_set(err, errno, "socketpair", "guest agent", NULL);
    vm->exchange.expected = expected;
    vm->exchange.received = 0;
    vm->exchange.watch.ready = ready;
    int result = loop_add(&vm->machine.loop, &vm->exchange.watch, pair[0], EPOLLIN, err);
    if (result < 0) {
        close(pair[0]);
        close(pair[1]);
        return result;
    }
    return pair[1];
}

/* Guest-initiated connections: our own port, and for all others the Unix socket "<vsock path>_<port>". */
static int accept_from_guest(struct vsock_host *host, uint32_t port)
{
    struct vm *vm = container_of(host, struct vm, vsock_host);
    if (port == GUEST_PORT_HELLO) {
        if (vm->started_us != 0 || vm->exchange.watch.fd >= 0)
            return -ECONNREFUSED;
        return exchange_open(vm, sizeof(struct guest_hello), on_hello, NULL);
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s_%u", vm->vsock_path, port);
    if (vm->vsock_path[0] == '\0' || length >= (int)sizeof address.sun_path)
        return -ECONNREFUSED;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int code = errno;
        close(fd);
        return -code;
    }
    return fd;
}

/* --- the first answer -------------------------------------------------------------------------------------
 */

static void done_with_working_set(struct vm *vm)
{
    close(vm->working_set_fd);
    vm->working_set_fd = -1;
}

/*
 * Somebody is going to ask the guest something: now, not when it was forked, a child gets the pages that it
 * will need for the answer, since most that are forked are never asked. The agent's own messages come before
 * the child is ready.
 */
static void on_opening(struct vsock_host *host)
{
    struct vm *vm = container_of(host, struct vm, vsock_host);
    if (vm->status.phase != FORKD_VM_READY || vm->working_set_fd < 0 || vm->touched_before != NULL)
        return;
    const struct guest_memory *memory = &vm->machine.memory;
    struct working_set set;
    if (working_set_read(vm->working_set_fd, memory->size, &set) == 0) {
        working_set_populate(&set, memory->host);
        working_set_free(&set);
    } else {
        vm->touched_before = working_set_begin(vm->working_set_fd, memory->host, memory->size);
    }
    if (vm->touched_before == NULL)
        done_with_working_set(vm);
}

/* Before the client has the answer: it may well end the child at once. */
static void on_answered(struct vsock_host *host)
{
    struct vm *vm = container_of(host, struct vm, vsock_host);
    if (vm->touched_before == NULL)
        return;
    working_set_learn(vm->working_set_fd, vm->touched_before, vm->machine.memory.host,
                      vm->machine.memory.size);
    vm->touched_before = NULL;
    done_with_working_set(vm);
}

/* --- requests of the owner --------------------------------------------------------------------------------
 */

/* Shared disks are not part of a snapshot; what the guest wrote to them is to be there when it says so. */
static int flush_disks(struct vm *vm, struct forkd_error *err)
{
    for (uint32_t i = 0; i < vm->machine.config.disk_count; i++) {
        int result = disk_flush(vm->machine.disks[i]);
        if (result < 0)
            return error_set(err, result, "flush", "shared disk", NULL);
    }
    return 0;
}

static int check_ready(const struct vm *vm, const char *operation, struct forkd_error *err)
{
    if (vm->status.phase == FORKD_VM_READY)
        return 0;
    return error_set(err, EAGAIN, operation, "VM", "the guest is not ready yet");
}

static bool is_host_full(const struct vm *vm)
{
    bool full = false;
    for (uint32_t i = 0; i < vm->machine.config.disk_count; i++)
        full = full || disk_host_full(vm->machine.disks[i]);
    return full;
}

/* What such a guest has on its disks is not what it wrote: nothing to begin others with. */
static int check_host_full(const struct vm *vm, const char *operation, struct forkd_error *err)
{
    if (!is_host_full(vm))
        return 0;
    return error_set(
        err, ENOSPC, operation, "VM",
        "the host's disk was full when the guest wrote to its own, and its file systems may have "
        "stopped: make room there, and begin again with a new VM");
}

static int save_state(struct vm *vm, struct vmstate_writer *writer, struct forkd_error *err)
{
    vmstate_writer_init(writer);
    int result = machine_save(&vm->machine, writer, err);
    return result == 0 ? vmstate_writer_finish(writer, err) : result;
}

/* Lock held; the machine stands still for good afterwards. */
static int write_snapshot(struct vm *vm, int directory, struct forkd_error *err)
{
    int result = machine_pause(&vm->machine, err);
    if (result < 0 || (result = flush_disks(vm, err)) < 0 ||
        (result = check_host_full(vm, "snapshot", err)) < 0) /* what was under way may have filled it */
        return result;
    struct vmstate_writer writer;
    result = save_state(vm, &writer, err);
    struct snapshot_source source = {.vmstate = writer.data,
                                     .vmstate_length = writer.length,
                                     .memory = vm->machine.memory.host,
                                     .memory_size = vm->machine.memory.size,
                                     .memory_base_fd = vm->memory_fd,
                                     .disks = vm->machine.disks,
                                     .disk_count = vm->machine.config.disk_count};
    if (result == 0)
        result = snapshot_write(&source, directory, err);
    vmstate_writer_free(&writer);
    return result;
}

static void count_fd(void *context, int fd)
{
    (void)fd;
    ++*(uint64_t *)context;
}

/*
 * A top that was frozen keeps its descriptor, and a write that finds none left for the next one is an I/O
 * error to the guest. So disks get three quarters of what the process may have; connections and owners the
 * rest.
 */
static int check_descriptors(const struct vm *vm, struct forkd_error *err)
{
    struct rlimit limit;
    uint64_t used = 0;
    uint32_t freezes = UINT32_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return error_set(err, errno, "getrlimit", "VM", NULL);
    for (uint32_t i = 0; i < vm->machine.config.disk_count; i++) {
        uint32_t left = disk_freezes_left(vm->machine.disks[i]);
        freezes = left < freezes ? left : freezes;
        disk_each_fd(vm->machine.disks[i], count_fd, &used);
    }
    if (freezes > 0 && used + vm->machine.config.disk_count <= limit.rlim_cur / 4 * 3)
        return 0;
    return error_set(
        err, EMFILE, "branch", "VM",
        "its disks have %llu files open, one more for each branch: branch a child of its last branch, "
        "which begins anew, or allow processes more than %llu",
        (unsigned long long)used, (unsigned long long)limit.rlim_cur);
}

static int snapshot(struct vm *vm, int directory, struct forkd_error *err)
{
    uint32_t disk_count = vm->machine.config.disk_count;
    int result = check_ready(vm, "snapshot", err);
    if (result < 0 || (result = check_host_full(vm, "snapshot", err)) < 0 ||
        (result = snapshot_claim(disk_count, directory, err)) < 0)
        return result;
    result = write_snapshot(vm, directory, err);
    if (result < 0)
        snapshot_remove(disk_count, directory);
    return result;
}

static int check_branch(struct vm *vm, const struct control_branch *message, struct forkd_error *err)
{
    if ((message->flags & FORKD_BRANCH_LAYER) != 0 && vm->memory_fd < 0)
        return error_set(err, EINVAL, "branch", "VM",
                         "it was booted: there is nothing that a layer could be over");
    int result = check_ready(vm, "branch", err);
    if (result < 0 || (result = check_host_full(vm, "branch", err)) < 0)
        return result;
    return check_descriptors(vm, err);
}

/*
 * What happens while the guest stands still: all of it, and nothing else. Lock held, so that no thread is in
 * the middle of anything when fork(2) leaves the twin with this thread alone.
 */
static int fork_twin(struct vm *vm, struct twin *twin, pid_t *pid, struct forkd_branch_result *result,
                     struct forkd_error *err)
{
    int rc = save_state(vm, &twin->state, err);
    for (uint32_t i = 0; i < vm->machine.config.disk_count && rc == 0; i++)
        rc = disk_freeze_top(vm->machine.disks[i], err);
    if (rc < 0)
        return rc;
    uint64_t before = vm_now_us();
    *pid = fork();
    if (*pid == 0)
        twin_process(vm, twin);
    result->fork_us = vm_now_us() - before;
    return *pid < 0 ? error_set(err, errno, "fork", "VM", NULL) : 0;
}

/* The guest stands still for the time of fork_twin. */
static int pause_and_fork(struct vm *vm, struct twin *twin, struct forkd_branch_result *result,
                          struct forkd_error *err)
{
    signal(SIGCHLD, SIG_IGN); /* twins are nobody's to wait for */
    uint64_t before = vm_now_us();
    int rc = machine_pause(&vm->machine, err);
    pid_t pid = 0;
    if (rc == 0)
        rc = check_host_full(vm, "branch", err); /* what was under way may have filled it */
    if (rc == 0)
        rc = fork_twin(vm, twin, &pid, result, err);
    if (vm->machine.end == FORKD_END_NONE)
        machine_resume(&vm->machine);
    result->pause_us = vm_now_us() - before;
    result->pid = pid;
    vmstate_writer_free(&twin->state);
    return rc;
}

/* `fds` as control.h says; they are closed by the caller. */
static int branch(struct vm *vm, const struct control_branch *message, const int *fds,
                  struct forkd_branch_result *result, struct forkd_error *err)
{
    uint32_t disk_count = vm->machine.config.disk_count;
    struct twin twin = {.channel = fds[0],
                        .directory = fds[1],
                        .listener = message->has_listener ? fds[2] : -1,
                        .over_base = (message->flags & FORKD_BRANCH_LAYER) != 0};
    int rc = check_branch(vm, message, err);
    if (rc < 0 || (rc = snapshot_claim(disk_count, twin.directory, err)) < 0)
        return rc;
    rc = flush_disks(vm, err);
    if (rc == 0)
        rc = pause_and_fork(vm, &twin, result, err);
    if (rc < 0)
        snapshot_remove(disk_count, twin.directory);
    return rc;
}

static int serve_connect(struct vm *vm, int stream, uint32_t port, struct forkd_error *err)
{
    int result = check_ready(vm, "connect", err);
    if (result < 0) {
        close(stream);
        return result;
    }
    return vsock_connect(vm->machine.vsock, stream, port, err);
}

static void serve_request(struct vm *vm, const union control_message *message, size_t length, int *fds,
                          uint32_t fd_count, struct control_reply *reply)
{
    struct forkd_error *err = &reply->error;
    int result = 0;
    if (length == sizeof message->snapshot && message->header.type == CONTROL_SNAPSHOT && fd_count == 1) {
        result = snapshot(vm, fds[0], err);
    } else if (length == sizeof message->branch && message->header.type == CONTROL_BRANCH &&
               fd_count == 2u + (message->branch.has_listener != 0)) {
        result = branch(vm, &message->branch, fds, &reply->branch, err);
    } else if (length == sizeof message->connect && message->header.type == CONTROL_CONNECT &&
               fd_count == 1) {
        result = serve_connect(vm, fds[0], message->connect.port, err);
        fds[0] = -1; /* the device's now, or closed */
    } else {
        result = error_set(err, EPROTO, "receive", "control channel", "unexpected message");
    }
    if (result == 0)
        memset(err, 0, sizeof *err);
}

static void on_peer(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm_peer *peer = container_of(watch, struct vm_peer, watch);
    struct vm *vm = peer->vm;
    union control_message message;
    size_t length = 0;
    int fds[MAX_REQUEST_FDS];
    uint32_t fd_count = MAX_REQUEST_FDS;
    int got = channel_receive(peer->fd, CHANNEL_NOW, &message, sizeof message, &length, fds, &fd_count, NULL);
    if (got == -EAGAIN)
        return;
    if (got <= 0) {
        remove_peer(peer);
        return;
    }
    if (length < sizeof message.header || message.header.magic != CONTROL_MAGIC)
        message.header.type = 0;
    if (length == sizeof message.header && message.header.type == CONTROL_STATUS && fd_count == 0) {
        send_status(peer);
        return;
    }
    struct control_reply reply = {.header = {CONTROL_MAGIC, CONTROL_REPLY}};
    serve_request(vm, &message, length, fds, fd_count, &reply);
    for (uint32_t i = 0; i < fd_count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    tell(peer, &reply, sizeof reply);
}

/* Somebody attaches to a detached VM. */
static void on_listener(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm *vm = container_of(watch, struct vm, listener_watch);
    int fd = listener_accept(watch->fd);
    if (fd < 0)
        return;
    struct vm_peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL || add_peer(vm, peer, fd, NULL) < 0) {
        free(peer);
        close(fd);
        return;
    }
    send_status(peer);
}

/* --- the process ------------------------------------------------------------------------------------------
 */

static void init(struct vm *vm, int channel, uint32_t flags, const char *vsock_path)
{
    vm->owner = (struct vm_peer){.vm = vm, .fd = channel, .watch = {.fd = -1, .ready = on_peer}};
    vm->peers = &vm->owner;
    vm->flags = flags;
    vm->status.pid = getpid();
    memcpy(vm->vsock_path, vsock_path, sizeof vm->vsock_path);
    vm->vsock_path[sizeof vm->vsock_path - 1] = '\0';
    vm->machine.ready = on_guest_ready;
    vm->machine.ended = on_ended;
    vm->vsock_fd = -1;
    vm->exchange.watch.fd = -1;
    vm->listener_watch = (struct loop_watch){.fd = -1, .ready = on_listener};
}

static void on_deadline(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm *vm = container_of(watch, struct vm, deadline_watch);
    if (vm->status.phase != FORKD_VM_STARTING)
        return; /* it became ready while this was on its way */
    struct forkd_error error;
    error_set(&error, ETIMEDOUT, "set identity", "guest agent",
              "no acknowledgement in time; the child is ended rather than served with its parent's identity");
    fail(vm, &error);
}

/* A timer, which is armed later without waking the loop: that would cost a child its processor when it is
 * most needed. */
static int make_deadline(struct vm *vm, struct forkd_error *err)
{
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (timer < 0)
        return error_set(err, errno, "timerfd_create", "VM", NULL);
    vm->deadline_watch = (struct loop_watch){.fd = -1, .ready = on_deadline};
    int result = loop_add(&vm->machine.loop, &vm->deadline_watch, timer, EPOLLIN, err);
    if (result < 0)
        close(timer);
    return result;
}

static int arm_deadline(struct vm *vm, uint32_t timeout_ms, struct forkd_error *err)
{
    const struct itimerspec time = {
        .it_value = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000}};
    if (timerfd_settime(vm->deadline_watch.fd, 0, &time, NULL) < 0)
        return error_set(err, errno, "timerfd_settime", "VM", NULL);
    return 0;
}

static void set_name(const char *name)
{
    prctl(PR_SET_NAME, name);
}

/* After each round of the loop, which is where all writes to disks are. */
static void note_host_full(struct vm *vm)
{
    if (vm->status.host_full != 0 || !is_host_full(vm))
        return;
    vm->status.host_full = 1;
    publish_status(vm);
}

static void *loop_thread(void *argument)
{
    struct vm *vm = argument;
    struct loop *loop = &vm->machine.loop;
    set_name("forkd-loop");
    struct forkd_error error;
    int result = 0;
    for (;;) {
        pthread_mutex_lock(&vm->machine.lock);
        note_host_full(vm);
        if (result < 0)
            fail(vm, &error);
        bool stop = loop->stop;
        pthread_mutex_unlock(&vm->machine.lock);
        if (stop)
            leave(vm);
        result = loop_once(loop, -1, &error);
    }
}

static int start_loop(struct vm *vm, struct forkd_error *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, vm->loop_stack, sizeof vm->loop_stack);
    pthread_t thread;
    int code = pthread_create(&thread, &attributes, loop_thread, vm);
    pthread_attr_destroy(&attributes);
    return code == 0 ? 0 : error_set(err, code, "pthread_create", "event loop", NULL);
}

/* This thread is the first vCPU's; the loop's ends the process. */
static _Noreturn void run(struct vm *vm)
{
    machine_run_first(&vm->machine);
    for (;;)
        pause();
}

static _Noreturn void fail_start(struct vm *vm, const struct forkd_error *error)
{
    pthread_mutex_lock(&vm->machine.lock);
    fail(vm, error);
    leave(vm);
}

static int attach_net(struct vm *vm, const char *tap_name, struct forkd_error *err)
{
    if (vm->machine.net == NULL || tap_name[0] == '\0')
        return 0;
    int tap = tap_open(tap_name, err);
    return tap < 0 ? tap : net_attach(vm->machine.net, tap, err);
}

/* More memory than the host can ever give would only end in the OOM killer. */
static int check_memory(uint64_t bytes, struct forkd_error *err)
{
    uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (bytes <= host)
        return 0;
    return error_set(err, ENOMEM, "allocate", "guest memory", "%llu MiB asked for; the host has %llu MiB",
                     (unsigned long long)(bytes >> 20), (unsigned long long)(host >> 20));
}

/* A guest with an agent is a Linux, which does not get to starting it where the kernel's code is emulated. */
static int check_flavour(const struct control_boot *message, struct forkd_error *err)
{
    if ((message->flags & FORKD_NO_AGENT) != 0 || kvm_flavour() != HOST_PAGE_TABLES)
        return 0;
    return error_set(err, ENOTSUP, "boot", "/dev/kvm",
                     "it works without VMX or SVM here, and runs no stock Linux kernel; take a host whose "
                     "processor has them (in /proc/cpuinfo: vmx or svm), or where this is a virtual machine, "
                     "turn nested virtualisation on");
}

/* `layer_counts`: NULL when no disk has layers. */
static int open_disks(struct disk **disks, uint32_t count, const uint32_t *modes,
                      const uint32_t *layer_counts, const int *fds, uint32_t fd_count, int scratch,
                      struct forkd_error *err)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t layers = layer_counts == NULL ? 0 : layer_counts[i];
        if (layers > FORKD_MAX_LAYERS || fd_count - used < 1 + layers)
            return error_set(err, EPROTO, "receive", "control channel", "a descriptor is missing");
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "disk %u", i);
        int result = disk_open(&disks[i], name, modes[i], fds[used], fds + used + 1, layers, scratch, err);
        if (result == 0)
            result = disk_verify_layers(disks[i], err);
        if (result < 0)
            return result;
        used += 1 + layers;
    }
    return 0;
}

static int boot(struct vm *vm, const struct control_boot *message, const int *fds, uint32_t fd_count,
                struct forkd_error *err)
{
    uint32_t fixed = 2u + message->has_initrd + message->has_console;
    if (fd_count < fixed || message->disk_count > FORKD_MAX_DISKS)
        return error_set(err, EPROTO, "receive", "control channel", "a descriptor is missing");
    uint32_t next = 2;
    int initrd = message->has_initrd ? fds[next++] : -1;
    vm->console_fd = message->has_console ? fds[next++] : -1;
    struct machine_config config = {.memory_bytes = message->memory_bytes,
                                    .vcpu_count = message->vcpu_count,
                                    .disk_count = message->disk_count,
                                    .has_net = message->has_net != 0,
                                    .baseline_cpu = message->cpu_template == FORKD_CPU_BASELINE};
    memcpy(config.disk_modes, message->disk_modes, sizeof config.disk_modes);
    memcpy(config.mac, message->mac, sizeof config.mac);
    struct disk *disks[FORKD_MAX_DISKS] = {0};
    int result = check_memory(config.memory_bytes, err);
    if (result < 0 || (result = open_disks(disks, message->disk_count, message->disk_modes, NULL, fds + next,
                                           fd_count - next, fds[1], err)) < 0)
        return result;
    void *memory = mmap(NULL, config.memory_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(err, errno, "mmap", "guest memory", NULL);
    vm->vsock_host.accept = accept_from_guest;
    vm->memory_fd = -1;
    vm->working_set_fd = -1;
    struct kvm_host host;
    if ((result = kvm_host_open(&host, true, err)) < 0 ||
        (result = machine_init(&vm->machine, &config, memory, disks, vm->console_fd, &vm->vsock_host, err)) <
            0)
        return result;
    vm->machine.host = host;
    vm->machine.ready = on_guest_ready;
    vm->machine.ended = on_ended;
    if ((result = machine_create_vm(&vm->machine, err)) < 0 ||
        (result = attach_net(vm, message->tap_name, err)) < 0 ||
        (result = loop_add(&vm->machine.loop, &vm->owner.watch, vm->owner.fd, EPOLLIN, err)) < 0)
        return result;
    result = machine_boot(&vm->machine, fds[0], initrd, message->command_line, err);
    close(fds[0]);
    if (initrd >= 0)
        close(initrd);
    if (result < 0 || (result = check_flavour(message, err)) < 0)
        return result;
    return machine_run(&vm->machine, false, err);
}

_Noreturn void vm_process_boot(int channel, const struct control_boot *message, const int *fds,
                               uint32_t fd_count)
{
    static struct vm vm;
    set_name("forkd-vm");
    vm.deadline_watch.fd = -1;
    init(&vm, channel, message->flags, message->vsock_path);
    struct forkd_error error;
    int result = boot(&vm, message, fds, fd_count, &error);
    /* A machine that is quick to end may already have said so: the reply must be the first message. It is, as
     * the owner reads STATUS messages while it waits for the reply. */
    vm_send_reply(channel, result, &error);
    if (result < 0)
        leave(&vm);
    if (start_loop(&vm, &error) < 0)
        fail_start(&vm, &error);
    run(&vm);
}

int vm_load_state(struct vm *vm, const struct vmstate_reader *reader, const struct machine_config *config,
                  void *memory, int memory_fd, struct disk **disks, const struct kvm_host *host,
                  struct forkd_error *err)
{
    vm->vsock_host =
        (struct vsock_host){.accept = accept_from_guest, .opening = on_opening, .answered = on_answered};
    vm->deadline_watch.fd = -1;
    vm->memory_fd = memory_fd;
    vm->working_set_fd = -1;
    int result = machine_init(&vm->machine, config, memory, disks, -1, &vm->vsock_host, err);
    vm->machine.host = *host;
    return result < 0 ? result : machine_load(&vm->machine, reader, err);
}

int vm_load(struct vm *vm, const struct control_serve *message, const int *fds, uint32_t fd_count,
            struct forkd_error *err)
{
    uint32_t fixed = 3u + (message->has_listener != 0) + (message->has_working_set != 0);
    if (fd_count < fixed || message->disk_count > FORKD_MAX_DISKS)
        return error_set(err, EPROTO, "receive", "control channel", "a descriptor is missing");
    struct stat info;
    if (fstat(fds[1], &info) < 0)
        return error_set(err, errno, "stat", "vmstate", NULL);
    if (info.st_size <= 0 || (uint64_t)info.st_size > VMSTATE_MAX_BYTES)
        return error_set(err, EBADMSG, "read", "vmstate", "the file has %lld bytes", (long long)info.st_size);
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fds[1], 0);
    if (bytes == MAP_FAILED)
        return error_set(err, errno, "mmap", "vmstate", NULL);
    struct vmstate_reader reader;
    struct machine_config config;
    struct disk *disks[FORKD_MAX_DISKS] = {0};
    struct kvm_host host = {.fd = -1};
    void *memory = NULL;
    int result = vmstate_reader_init(&reader, bytes, (size_t)info.st_size, err);
    if (result == 0)
        result = machine_load_config(&config, &reader, err);
    if (result == 0 && config.disk_count != message->disk_count)
        result = error_set(err, EINVAL, "load", "vmstate", "the snapshot has %u disks, %u were given",
                           config.disk_count, message->disk_count);
    if (result == 0)
        result = open_disks(disks, config.disk_count, message->disk_modes, message->disk_layer_counts,
                            fds + fixed, fd_count - fixed, fds[2], err);
    if (result == 0)
        result = memory_image_map(fds[0], config.memory_bytes, &memory, err);
    if (result == 0)
        result = kvm_host_open(&host, true, err);
    if (result == 0)
        result = vm_load_state(vm, &reader, &config, memory, fds[0], disks, &host, err);
    if (result == 0 && message->has_working_set)
        vm->working_set_fd = fds[fixed - 1];
    munmap(bytes, (size_t)info.st_size);
    return result;
}

static int start_identity(struct vm *vm, const char *hostname, struct forkd_error *err)
{
    struct guest_identity identity = {.magic = GUEST_IDENTITY_MAGIC,
                                      .version = GUEST_PROTOCOL_VERSION,
                                      .generation = vm->machine.config.generation};
    if (getrandom(identity.seed, sizeof identity.seed, 0) != sizeof identity.seed ||
        getrandom(identity.machine_id, sizeof identity.machine_id, 0) != sizeof identity.machine_id)
        return error_set(err, errno, "getrandom", "identity", NULL);
    memcpy(identity.hostname, hostname, sizeof identity.hostname);
    identity.hostname[sizeof identity.hostname - 1] = '\0';
    struct timespec now;
    int result = vcpu_get_tsc(&vm->machine.vcpus[0], &identity.tsc, err);
    if (result < 0)
        return result;
    identity.tsc_khz = vm->machine.state->vcpus[0].tsc_khz;
    clock_gettime(CLOCK_REALTIME, &now);
    identity.realtime_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    int stream = exchange_open(vm, sizeof(struct guest_identity_ack), on_identity_ack, err);
    if (stream < 0)
        return stream;
    /* It fits into the socket's buffer. */
    if (send(vm->exchange.watch.fd, &identity, sizeof identity, MSG_NOSIGNAL) != sizeof identity) {
        result = error_set(err, errno, "send", "identity", NULL);
        close(stream);
        return result;
    }
    return vsock_connect(vm->machine.vsock, stream, GUEST_PORT_IDENTITY, err);
}

static int enter_netns(int fd, struct forkd_error *err)
{
    if (setns(fd, CLONE_NEWNET) < 0)
        return error_set(err, errno, "setns", "network namespace", NULL);
    close(fd);
    return 0;
}

void vm_detach_process(void)
{
    prctl(PR_SET_PDEATHSIG, 0);
    /* Who started us may wait for the end of what we could still write there. */
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDERR_FILENO);
        close(null);
    }
}

static int detach(struct vm *vm, int listener, struct forkd_error *err)
{
    vm_detach_process();
    vm->status.start_time = process_start_time(vm->status.pid);
    return loop_add(&vm->machine.loop, &vm->listener_watch, listener, EPOLLIN, err);
}

static int start_child(struct vm *vm, const struct control_fork *message, const int *fds,
                       struct forkd_error *err)
{
    uint32_t next = 0;
    vm->console_fd = message->has_console ? fds[next++] : -1;
    serial_log_to(&vm->machine.serial, vm->console_fd);
    if (vm->prepare_error.code != 0) {
        *err = vm->prepare_error;
        return err->code;
    }
    /* Until the agent has ended the TCP connections, which are the siblings' as well, nobody hears of them.
     */
    if (vm->machine.net != NULL && (message->flags & FORKD_NO_AGENT) == 0)
        net_hold(vm->machine.net, true);
    int result = message->has_netns ? enter_netns(fds[next++], err) : 0;
    if (result < 0 || (result = attach_net(vm, message->tap_name, err)) < 0 ||
        (result = loop_add(&vm->machine.loop, &vm->owner.watch, vm->owner.fd, EPOLLIN, err)) < 0 ||
        (result = machine_restore(&vm->machine, err)) < 0 ||
        (result = arm_deadline(vm, message->ready_timeout_ms, err)) < 0 ||
        (message->has_listener && (result = detach(vm, fds[next], err)) < 0))
        return result;
    pthread_mutex_lock(&vm->machine.lock);
    if ((message->flags & FORKD_NO_AGENT) == 0)
        result = start_identity(vm, message->hostname, err);
    vm->status.fork_us = vm_now_us() - vm->started_us;
    if (result == 0)
        machine_resume(&vm->machine);
    pthread_mutex_unlock(&vm->machine.lock);
    return result;
}

static int prepare(struct vm *vm, struct forkd_error *err)
{
    int result = machine_create_vm(&vm->machine, err);
    if (result < 0 || (result = machine_prepare(&vm->machine, err)) < 0 ||
        (result = machine_run(&vm->machine, true, err)) < 0 || (result = make_deadline(vm, err)) < 0)
        return result;
    return start_loop(vm, err);
}

void vm_prepare(struct vm *vm)
{
    set_name("forkd-child");
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prepare(vm, &vm->prepare_error) == 0)
        vm->prepare_error.code = 0;
}

void vm_rehearse(struct vm *vm)
{
    if (vm->prepare_error.code == 0)
        machine_rehearse(&vm->machine);
    vm_now_us(); /* the kernel's page of the clock */
}

_Noreturn void vm_process_child(struct vm *vm, int channel, const struct control_fork *message,
                                const int *fds)
{
    pthread_mutex_lock(&vm->machine.lock);
    init(vm, channel, message->flags, message->vsock_path);
    vm->started_us = message->started_us;
    pthread_mutex_unlock(&vm->machine.lock);
    struct forkd_error error;
    if (start_child(vm, message, fds, &error) < 0)
        fail_start(vm, &error);
    run(vm);
}
