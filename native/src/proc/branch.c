/* SPDX-License-Identifier: Apache-2.0 */
/* A VM written down: as a snapshot, after which it stands still, or as a branch, which it does not notice. */
#include "proc/vm_parts.h"

#include "base/clock.h"
#include "proc/precopy.h"
#include "proc/twin.h"
#include "snapshot/files.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

int vm_check_ready(const struct vm *vm, const char *operation, struct forkd_error *err)
{
    if (vm->status.phase == FORKD_VM_READY)
        return 0;
    return error_set(err, EAGAIN, operation, "VM", "the guest is not ready yet");
}

int vm_check_running(const struct vm *vm, const char *operation, struct forkd_error *err)
{
    int result = vm_check_ready(vm, operation, err);
    if (result == 0 && vm->machine.paused && !vm->machine.frozen)
        result = error_set(err, EBUSY, operation, "VM",
                           "it has been written down as a snapshot, and stands still");
    return result;
}

/* What a guest has on its disks whose writes have failed is not what it wrote: nothing to begin others with.
 */
static int check_full(struct vm *vm, const char *operation, struct forkd_error *err)
{
    if (vm_is_host_full(vm))
        return error_set(
            err, ENOSPC, operation, "VM",
            "the host's disk was full when the guest wrote to its own, and its file systems may have "
            "stopped: make room there, and begin again with a new VM");
    if (vm->machine.disk_quota.reached)
        return error_set(err, ENOSPC, operation, "VM",
                         "its guest wrote more than the %llu MiB that it may have on disks, and its file "
                         "systems may have stopped: begin again with a new VM and a higher limit",
                         (unsigned long long)(vm->machine.limits.disk_bytes >> 20));
    return 0;
}

static int save_state(struct vm *vm, struct vmstate_writer *writer, struct forkd_error *err)
{
    vmstate_writer_init(writer);
    int result = machine_save(&vm->machine, writer, err);
    return result == 0 ? vmstate_writer_finish(writer, err) : result;
}

/* Lock held. When all is written the machine stands still for good; otherwise it goes on. */
static int write_snapshot(struct vm *vm, int directory, struct forkd_error *err)
{
    struct vmstate_writer writer = {0};
    int result = machine_pause(&vm->machine, err);
    if (result == 0)
        result = check_full(vm, "snapshot", err); /* what was under way may have filled it */
    if (result == 0)
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
    if (result < 0 && vm->machine.end == FORKD_END_NONE)
        machine_resume(&vm->machine);
    return result;
}

static void count_fd(void *context, int fd)
{
    (void)fd;
    ++*(uint64_t *)context;
}

/*
 * A top that was frozen keeps its descriptor until it is merged, and a write that finds none left for the
 * next one is an I/O error to the guest. So disks get three quarters of what the process may have;
 * connections and owners the rest.
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
    return error_set(err, EMFILE, "branch", "VM",
                     "its disks have %llu files open, one more for each branch until they are put together: "
                     "wait a moment, "
                     "or allow processes more than %llu",
                     (unsigned long long)used, (unsigned long long)limit.rlim_cur);
}

int vm_snapshot(struct vm *vm, int directory, struct forkd_error *err)
{
    uint32_t disk_count = vm->machine.config.disk_count;
    int result = vm_check_running(vm, "snapshot", err);
    if (result < 0 || (result = check_full(vm, "snapshot", err)) < 0 ||
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
    int result = vm_check_running(vm, "branch", err);
    if (result < 0 || (result = check_full(vm, "branch", err)) < 0)
        return result;
    return check_descriptors(vm, err);
}

/* --- branch -----------------------------------------------------------------------------------------------
 */

/* One that copies while the guest runs. */
struct branch {
    struct vm *vm;
    struct vm_peer *peer; /* who gets the reply */
    struct twin twin;
    int fds[CONTROL_BRANCH_MAX_FDS]; /* of the request */
    uint32_t fd_count;
    struct precopy *precopy;
    struct loop_watch turn; /* an eventfd that is always readable: the loop is to come by again */
};

/*
 * What happens while the guest stands still: all of it, and nothing else. Lock held, so that no thread is in
 * the middle of anything when fork(2) leaves the twin with this thread alone.
 */
static int fork_twin(struct vm *vm, struct twin *twin, struct precopy *precopy, pid_t *pid,
                     struct forkd_branch_result *result, struct forkd_error *err)
{
    const struct guest_memory *memory = &vm->machine.memory;
    int rc = save_state(vm, &twin->state, err);
    for (uint32_t i = 0; i < vm->machine.config.disk_count && rc == 0; i++)
        rc = disk_freeze_top(vm->machine.disks[i], err);
    if (rc < 0)
        return rc;
    /* When there is no room for the last of the copies: memory is as good to inherit as it was. */
    bool copied = precopy != NULL && precopy_finish(precopy, err) == 0 &&
                  madvise(memory->host, memory->size, MADV_DONTFORK) == 0;
    twin->copies = copied ? precopy_file(precopy) : -1;
    twin->copied = copied ? precopy_pages(precopy) : NULL;
    result->way = copied ? FORKD_BRANCH_PRECOPY : FORKD_BRANCH_FORK;
    uint64_t before = clock_now_us();
    *pid = fork();
    if (*pid == 0)
        twin_process(vm, twin);
    int code = errno;
    result->fork_us = clock_now_us() - before;
    if (copied)
        madvise(memory->host, memory->size, MADV_DOFORK);
    return *pid < 0 ? error_set(err, code, "fork", "VM", NULL) : 0;
}

/* The guest stands still for the time of fork_twin. */
static int pause_and_fork(struct vm *vm, struct twin *twin, struct precopy *precopy,
                          struct forkd_branch_result *result, struct forkd_error *err)
{
    signal(SIGCHLD, SIG_IGN); /* twins are nobody's to wait for */
    int rc = machine_settle(&vm->machine, err);
    uint64_t before = clock_now_us();
    if (rc == 0)
        rc = machine_pause(&vm->machine, err);
    pid_t pid = 0;
    if (rc == 0)
        rc = check_full(vm, "branch", err); /* what was under way may have filled it */
    if (rc == 0)
        rc = fork_twin(vm, twin, precopy, &pid, result, err);
    if (vm->machine.end == FORKD_END_NONE)
        machine_resume(&vm->machine);
    result->pause_us = clock_now_us() - before;
    result->pid = pid;
    vmstate_writer_free(&twin->state);
    if (rc < 0)
        snapshot_remove(vm->machine.config.disk_count, twin->directory);
    return rc;
}

static void branch_free(struct branch *branch)
{
    int turn = branch->turn.fd;
    branch->vm->branch = NULL;
    precopy_end(branch->precopy);
    if (turn >= 0) {
        loop_remove(&branch->vm->machine.loop, &branch->turn);
        close(turn);
    }
    free(branch);
}

/* Its descriptors are not the caller's. */
static void finish(struct branch *branch, bool with_copies)
{
    struct vm *vm = branch->vm;
    struct control_reply reply = {.header = {CONTROL_MAGIC, CONTROL_REPLY}};
    if (!with_copies) {
        precopy_end(branch->precopy);
        branch->precopy = NULL;
    }
    if (pause_and_fork(vm, &branch->twin, branch->precopy, &reply.branch, &reply.error) == 0)
        memset(&reply.error, 0, sizeof reply.error);
    for (uint32_t i = 0; i < branch->fd_count; i++)
        close(branch->fds[i]);
    peers_reply(branch->peer, &reply);
    branch_free(branch);
}

static void on_turn(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct branch *branch = container_of(watch, struct branch, turn);
    enum precopy_next next = precopy_step(branch->precopy);
    if (branch->vm->machine.end == FORKD_END_NONE && next != PRECOPY_AGAIN)
        finish(branch, next == PRECOPY_STOP);
}

void branch_finish(struct vm *vm)
{
    if (vm->branch != NULL)
        finish(vm->branch, false);
}

void branch_finish_of(struct vm *vm, const struct vm_peer *peer)
{
    if (vm->branch != NULL && vm->branch->peer == peer)
        finish(vm->branch, false);
}

void branch_abandon(struct vm *vm)
{
    if (vm->branch != NULL)
        snapshot_remove(vm->machine.config.disk_count, vm->branch->twin.directory);
}

/* False: it is to be done at once. */
static bool start_copying(struct vm *vm, struct vm_peer *peer, const struct control_branch *message,
                          const struct twin *twin, const int *fds, uint32_t fd_count)
{
    enum precopy_when when = message->way == FORKD_BRANCH_PRECOPY ? PRECOPY_ALWAYS
                             : twin->unwritten                    ? PRECOPY_FOR_BRANCH
                                                                  : PRECOPY_FOR_GUEST;
    if (message->way == FORKD_BRANCH_FORK || !precopy_may_pay(&vm->machine, when))
        return false;
    struct branch *branch = calloc(1, sizeof *branch);
    if (branch == NULL)
        return false;
    *branch = (struct branch){
        .vm = vm, .peer = peer, .twin = *twin, .fd_count = fd_count, .turn = {.fd = -1, .ready = on_turn}};
    memcpy(branch->fds, fds, fd_count * sizeof *fds);
    int turn = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (turn >= 0 && loop_add(&vm->machine.loop, &branch->turn, turn, EPOLLIN, NULL) < 0)
        close(turn);
    if (branch->turn.fd < 0 || precopy_start(&branch->precopy, &vm->machine, message->room, when, NULL) < 0) {
        branch_free(branch);
        return false;
    }
    vm->branch = branch;
    return true;
}

int vm_branch(struct vm *vm, struct vm_peer *peer, const struct control_branch *message, const int *fds,
              uint32_t fd_count, struct forkd_branch_result *result, struct forkd_error *err)
{
    struct twin twin = {.channel = fds[0],
                        .directory = fds[1],
                        .listener_directory = message->has_listener ? fds[2] : -1,
                        .listener = message->has_listener ? fds[3] : -1,
                        .cgroup = message->has_cgroup ? fds[message->has_listener ? 4 : 2] : -1,
                        .over_base = (message->flags & FORKD_BRANCH_LAYER) != 0,
                        .unwritten = (message->flags & FORKD_BRANCH_UNWRITTEN) != 0};
    int rc = check_branch(vm, message, err);
    if (rc < 0 || (rc = snapshot_claim(vm->machine.config.disk_count, twin.directory, err)) < 0)
        return rc;
    if (start_copying(vm, peer, message, &twin, fds, fd_count))
        return 1;
    return pause_and_fork(vm, &twin, NULL, result, err);
}
