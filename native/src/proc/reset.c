/* SPDX-License-Identifier: Apache-2.0 */
/* A child put back to its snapshot, in the same process: what a fresh child has, and nothing of what it
 * became. */
#include "proc/vm_parts.h"

#include "base/clock.h"

#include <errno.h>

/* All that can be said against it, before anything is touched. */
static int check_reset(const struct vm *vm, const struct control_reset *message, struct forkd_error *err)
{
    const struct machine *machine = &vm->machine;
    int result = vm_check_running(vm, "reset", err);
    if (result < 0)
        return result;
    if ((vm->flags & FORKD_NO_AGENT) == 0 && message->hostname[0] == '\0')
        return error_set(err, EINVAL, "check", "hostname", "it is not set");
    if (vm->started_us == 0)
        return error_set(err, ENOTSUP, "reset", "VM",
                         "it was booted and is no child of a snapshot: there is nothing to put it back to");
    if (!vm->of_files)
        return error_set(
            err, ENOTSUP, "reset", "VM",
            "it was forked from a branch before that was written, so that what it began with is in "
            "no file: fork one from the branch as it is now");
    for (uint32_t i = 0; i < machine->config.disk_count; i++) {
        if (disk_mode(machine->disks[i]) == FORKD_DISK_SHARED)
            return error_set(
                err, EBUSY, "reset", "VM",
                "it writes through to disk %u, which cannot be put back with it: take a new child", i);
    }
    return machine_check_reset(machine, err);
}

/* The guest stands. From here on it either becomes as a fresh child or ends. */
static int put_back(struct vm *vm, const struct control_reset *message, struct forkd_error *err)
{
    struct machine *machine = &vm->machine;
    bool has_agent = (vm->flags & FORKD_NO_AGENT) == 0;
    vm->started_us = message->started_us;
    vm->status.phase = FORKD_VM_STARTING;
    vm->status.host_full = 0;
    vm->status.disk_full = 0;
    first_answer_forget(vm);
    vsock_hold(machine->vsock, true);
    if (machine->net != NULL && has_agent)
        net_hold(machine->net, true);
    int result = machine_reset(machine, err);
    if (result == 0)
        result = vm_arm_deadline(vm, message->ready_timeout_ms, err);
    if (result == 0)
        first_answer_starting(vm);
    if (result == 0 && has_agent)
        result = agent_start_identity(vm, message->hostname, err);
    vm->status.fork_us = clock_now_us() - vm->started_us;
    return result;
}

int vm_reset(struct vm *vm, const struct control_reset *message, struct forkd_error *err)
{
    int result = check_reset(vm, message, err);
    if (result < 0)
        return result;
    if ((result = machine_pause(&vm->machine, err)) < 0) {
        if (vm->machine.end == FORKD_END_NONE)
            machine_resume(&vm->machine);
        return result;
    }
    result = put_back(vm, message, err);
    if (result < 0) {
        vm_fail(vm, err);
        return result;
    }
    peers_publish(vm);
    machine_resume(&vm->machine);
    return 0;
}
