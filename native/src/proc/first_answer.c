/* SPDX-License-Identifier: Apache-2.0 */
/* What a child has ready when it starts, and when it is asked for the first time. */
#include "proc/vm_parts.h"

#include "snapshot/working_set.h"

#include <stdlib.h>

/* A fault that finds its page in the process still leaves the guest, which these do not. */
static void prefault(const struct machine *machine, const struct working_set *set)
{
    uint64_t low = guest_memory_low(&machine->memory);
    bool going = !machine->host.has_shadow_pages;
    for (uint32_t i = 0; i < set->start_count && going; i++) {
        uint64_t offset = set->ranges[i].first * WORKING_SET_PAGE;
        uint64_t address = offset < low ? offset : offset - low + GUEST_HOLE_END;
        going = vcpu_prefault(&machine->vcpus[0], address, (uint64_t)set->ranges[i].count * WORKING_SET_PAGE);
    }
}

static bool populate(const struct vm *vm, enum working_set_part part)
{
    const struct guest_memory *memory = &vm->machine.memory;
    struct working_set set;
    if (working_set_read(vm->working_set_fd, memory->size, &set) < 0)
        return false;
    working_set_populate(&set, part, memory->host);
    if (part == WORKING_SET_START)
        prefault(&vm->machine, &set);
    working_set_free(&set);
    return true;
}

/* The guest is about to run: what every child touches on its way to being ready costs less in one go. */
void first_answer_starting(const struct vm *vm)
{
    if (vm->working_set_fd >= 0)
        populate(vm, WORKING_SET_START);
}

/*
 * Somebody is going to ask the guest something: now, not when it was forked, a child gets the pages that it
 * will need for the answer, since most that are forked are never asked. The agent's own messages come before
 * the child is ready.
 */
void first_answer_opening(struct vsock_host *host)
{
    struct vm *vm = container_of(host, struct vm, vsock_host);
    if (vm->status.phase != FORKD_VM_READY || vm->working_set_fd < 0 || vm->was_asked)
        return;
    vm->was_asked = true;
    const struct guest_memory *memory = &vm->machine.memory;
    if (!populate(vm, WORKING_SET_ANSWER))
        vm->touched_before = working_set_begin(vm->working_set_fd, memory->host, memory->size);
}

/* Before the client has the answer: it may well end the child at once. */
void first_answer_given(struct vsock_host *host)
{
    struct vm *vm = container_of(host, struct vm, vsock_host);
    if (vm->touched_before == NULL)
        return;
    working_set_learn(vm->working_set_fd, vm->touched_before, vm->machine.memory.host,
                      vm->machine.memory.size);
    vm->touched_before = NULL;
}

/* Of a child that is reset: it is going to be asked for the first time again. */
void first_answer_forget(struct vm *vm)
{
    free(vm->touched_before);
    vm->touched_before = NULL;
    vm->was_asked = false;
}
