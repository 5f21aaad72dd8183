/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/vm_parts.h"

#include "base/broker.h"
#include "base/channel.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static struct vm *of_machine(struct machine *machine)
{
    return container_of(machine, struct vm, machine);
}

void vm_on_ended(struct machine *machine)
{
    struct vm *vm = of_machine(machine);
    vm->status.phase = FORKD_VM_ENDED;
    vm->status.end = machine->end;
    vm->status.error = machine->error;
    peers_publish(vm);
    machine->loop.stop = true;
    machine->bus.wake(&machine->bus);
}

void vm_fail(struct vm *vm, const struct forkd_error *error)
{
    machine_finish(&vm->machine, FORKD_END_ERROR, error);
}

_Noreturn void vm_leave(struct vm *vm)
{
    branch_abandon(vm);
    if (vm->has_vsock_name)
        broker_release();
    if (vm->listener_watch.fd >= 0)
        broker_unlisten(vm->listener_watch.fd, vm->listener_directory);
    _exit(vm->status.end == FORKD_END_ERROR || vm->status.end == FORKD_END_CRASH ? 1 : 0);
}

const char *vm_vsock_name(const struct vm *vm)
{
    const char *slash = strrchr(vm->vsock_path, '/');
    return slash == NULL ? vm->vsock_path : slash + 1;
}

static int listen_vsock(struct vm *vm, struct forkd_error *err)
{
    if (vm->vsock_directory < 0)
        return 0;
    if (vm->has_vsock_name) { /* it was reset */
        vsock_hold(vm->machine.vsock, false);
        return 0;
    }
    int fd = broker_listen(vm->vsock_directory, vm_vsock_name(vm));
    if (fd < 0)
        return error_set(err, fd, "bind", vm->vsock_path, fd == -EPIPE ? BROKER_GONE : NULL);
    vm->has_vsock_name = true;
    return vsock_listen(vm->machine.vsock, fd, err);
}

/* The timer itself stays: to close it costs more. A booted machine has none. */
static void disarm_deadline(const struct vm *vm)
{
    static const struct itimerspec never;
    if (vm->deadline_watch.fd >= 0)
        timerfd_settime(vm->deadline_watch.fd, 0, &never, NULL);
}

/* From here on the guest is open to the owner. */
void vm_become_ready(struct vm *vm)
{
    struct forkd_error error;
    if (listen_vsock(vm, &error) < 0) {
        vm_fail(vm, &error);
        return;
    }
    disarm_deadline(vm);
    if (vm->machine.net != NULL)
        net_hold(vm->machine.net, false);
    vm->status.phase = FORKD_VM_READY;
    if (vm->started_us != 0)
        vm->status.ready_us = clock_now_us() - vm->started_us;
    peers_publish(vm);
}

void vm_on_guest_ready(struct machine *machine)
{
    struct vm *vm = of_machine(machine);
    if ((vm->flags & FORKD_NO_AGENT) != 0 && vm->status.phase == FORKD_VM_STARTING)
        vm_become_ready(vm);
}

/* Whose process this is, or its children's will be: a server sets it once, as what a child writes to is a
 * page of its own. */
static struct vm *own;

/* The monitor itself has come upon memory whose file cannot be read. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    (void)context;
    uint64_t offset = (uintptr_t)info->si_addr - (uintptr_t)own->machine.memory.host;
    if (offset >= own->machine.memory.size) { /* something else, of which nothing is known */
        signal(number, SIG_DFL);
        return;
    }
    struct forkd_error error;
    error_set(&error, EIO, "read", own->machine.memory_name, "a device came upon memory that is not there");
    vm_tell_violation(&error);
    _exit(1);
}

void vm_own_process(struct vm *vm)
{
    static const struct sigaction bus_error = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    own = vm;
    sigaction(SIGBUS, &bus_error, NULL);
    machine_take_signals();
}

/* In a signal handler, of whatever thread. */
void vm_tell_violation(const struct forkd_error *error)
{
    struct vm *vm = own;
    if (vm == NULL || vm->owner.vm == NULL) /* a server, or a parked child */
        return;
    vm->status.phase = FORKD_VM_ENDED;
    vm->status.end = FORKD_END_ERROR;
    vm->status.error = *error;
    struct control_status message = {.header = {CONTROL_MAGIC, CONTROL_STATUS}, .status = vm->status};
    channel_send(vm->owner.fd, CHANNEL_NOW, &message, sizeof message, NULL, 0, NULL);
}

void vm_init(struct vm *vm)
{
    vm->status.pid = getpid();
    vm->machine.ready = vm_on_guest_ready;
    vm->machine.ended = vm_on_ended;
    vm->machine.thawed = vm_on_thawed;
    vm->vsock_directory = -1;
    vm->has_vsock_name = false;
    vm->listener_directory = -1;
    vm->exchange.watch.fd = -1;
    vm->freezer.timer.fd = -1;
    vm->listener_watch = (struct loop_watch){.fd = -1, .ready = peers_on_listener};
}

void vm_give(struct vm *vm, int channel, uint32_t flags, const char *vsock_path)
{
    vm->owner = (struct vm_peer){.vm = vm, .fd = channel, .watch = {.fd = -1, .ready = peers_on_peer}};
    vm->peers = &vm->owner;
    vm->flags = flags;
    memcpy(vm->vsock_path, vsock_path, sizeof vm->vsock_path);
    vm->vsock_path[sizeof vm->vsock_path - 1] = '\0';
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
    vm_fail(vm, &error);
}

/* A timer, which is armed later without waking the loop: that would cost a child its processor when it is
 * most needed. */
int vm_make_deadline(struct vm *vm, struct forkd_error *err)
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

int vm_arm_deadline(struct vm *vm, uint32_t timeout_ms, struct forkd_error *err)
{
    const struct itimerspec time = {
        .it_value = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000}};
    if (timerfd_settime(vm->deadline_watch.fd, 0, &time, NULL) < 0)
        return error_set(err, errno, "timerfd_settime", "VM", NULL);
    return 0;
}

void vm_set_name(const char *name)
{
    prctl(PR_SET_NAME, name);
}

bool vm_is_host_full(const struct vm *vm)
{
    bool full = false;
    for (uint32_t i = 0; i < vm->machine.config.disk_count; i++)
        full = full || disk_host_full(vm->machine.disks[i]);
    return full;
}

/* After each round of the loop; a disk's thread wakes it when something has failed. */
static void note_full(struct vm *vm)
{
    uint32_t host = vm->status.host_full != 0 || vm_is_host_full(vm);
    uint32_t disk = vm->machine.disk_quota.reached;
    if (host == vm->status.host_full && disk == vm->status.disk_full)
        return;
    vm->status.host_full = host;
    vm->status.disk_full = disk;
    peers_publish(vm);
}

static void *loop_thread(void *argument)
{
    struct vm *vm = argument;
    struct loop *loop = &vm->machine.loop;
    vm_set_name("forkd-loop");
    struct forkd_error error;
    int result = 0;
    for (;;) {
        pthread_mutex_lock(&vm->machine.lock);
        note_full(vm);
        if (result < 0)
            vm_fail(vm, &error);
        bool stop = loop->stop;
        pthread_mutex_unlock(&vm->machine.lock);
        if (stop)
            vm_leave(vm);
        result = loop_once(loop, -1, &error);
    }
}

int vm_start_loop(struct vm *vm, struct forkd_error *err)
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
_Noreturn void vm_run(struct vm *vm)
{
    machine_run_first(&vm->machine);
    for (;;)
        pause();
}

_Noreturn void vm_fail_start(struct vm *vm, const struct forkd_error *error)
{
    pthread_mutex_lock(&vm->machine.lock);
    vm_fail(vm, error);
    vm_leave(vm);
}

int vm_attach_net(struct vm *vm, int tap, struct forkd_error *err)
{
    if (vm->machine.net != NULL && tap >= 0)
        return net_attach(vm->machine.net, tap, err);
    if (tap >= 0)
        close(tap);
    return 0;
}

void vm_detach_process(void)
{
    prctl(PR_SET_PDEATHSIG, 0);
    /* Who started us may wait for the end of what we could still write there; standard output is /dev/null.
     */
    dup2(STDOUT_FILENO, STDERR_FILENO);
}
