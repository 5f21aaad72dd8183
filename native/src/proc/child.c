/* SPDX-License-Identifier: Apache-2.0 */
/* A child, from fork(2) until it runs. */
#include "proc/vm_parts.h"

#include "base/clock.h"
#include "machine/limits.h"
#include "proc/cgroup.h"

#include <sys/epoll.h>
#include <unistd.h>

static int detach(struct vm *vm, int listener, struct forkd_error *err)
{
    vm_detach_process();
    return loop_add(&vm->machine.loop, &vm->listener_watch, listener, EPOLLIN, err);
}

static int start_child(struct vm *vm, const struct control_fork *message, const int *fds,
                       struct forkd_error *err)
{
    uint32_t next = 0;
    vm->console_fd = message->has_console ? fds[next++] : -1;
    int tap = message->has_tap ? fds[next++] : -1;
    vm->vsock_directory = message->has_vsock ? fds[next++] : -1;
    if (message->has_cgroup) { /* it is there, and not to go elsewhere */
        close(fds[next++]);
        close(fds[next++]);
    }
    vm->listener_directory = message->has_listener ? fds[next++] : -1;
    serial_log_to(&vm->machine.serial, vm->console_fd);
    if (vm->status.error.code != 0) { /* of vm_prepare */
        *err = vm->status.error;
        return err->code;
    }
    /* Until the agent has ended the TCP connections, which are the siblings' as well, nobody hears of them.
     */
    if (vm->machine.net != NULL && (message->flags & FORKD_NO_AGENT) == 0)
        net_hold(vm->machine.net, true);
    int result = limits_apply(&vm->machine, &message->limits, err);
    if (result < 0 || (result = vm_attach_net(vm, tap, err)) < 0 ||
        (result = loop_add(&vm->machine.loop, &vm->owner.watch, vm->owner.fd, EPOLLIN, err)) < 0 ||
        (result = machine_restore(&vm->machine, err)) < 0 ||
        (result = vm_arm_deadline(vm, message->ready_timeout_ms, err)) < 0 ||
        (message->has_listener && (result = detach(vm, fds[next], err)) < 0))
        return result;
    first_answer_starting(vm);
    pthread_mutex_lock(&vm->machine.lock);
    if ((message->flags & FORKD_NO_AGENT) == 0)
        result = agent_start_identity(vm, message->hostname, err);
    vm->status.fork_us = clock_now_us() - vm->started_us;
    if (result == 0)
        machine_resume(&vm->machine);
    pthread_mutex_unlock(&vm->machine.lock);
    return result;
}

static int prepare(struct vm *vm, struct forkd_error *err)
{
    int result = machine_create_vm(&vm->machine, err);
    guest_memory_divide(&vm->machine.memory);
    if (result < 0 || (result = machine_prepare(&vm->machine, err)) < 0 ||
        (result = machine_run(&vm->machine, true, err)) < 0 || (result = vm_make_deadline(vm, err)) < 0)
        return result;
    return vm_start_loop(vm, err);
}

void vm_prepare(struct vm *vm, int cgroup)
{
    vm_set_name("forkd-child");
    vm_init(vm);
    if (cgroup >= 0 && cgroup_enter(cgroup, &vm->status.error) < 0)
        return;
    if (prepare(vm, &vm->status.error) == 0)
        vm->status.error.code = 0;
}

void vm_rehearse(struct vm *vm)
{
    if (vm->status.error.code == 0)
        machine_rehearse(&vm->machine);
    clock_now_us(); /* the kernel's page of the clock */
}

_Noreturn void vm_process_child(struct vm *vm, int channel, const struct control_fork *message,
                                const int *fds)
{
    pthread_mutex_lock(&vm->machine.lock);
    vm_give(vm, channel, message->flags, message->vsock_path);
    vm->started_us = message->started_us;
    pthread_mutex_unlock(&vm->machine.lock);
    struct forkd_error error;
    if (start_child(vm, message, fds, &error) < 0)
        vm_fail_start(vm, &error);
    vm_run(vm);
}
