/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/twin.h"

#include "base/array.h"
#include "base/broker.h"
#include "base/channel.h"
#include "base/io.h"

#include "machine/limits.h"
#include "proc/cgroup.h"
#include "proc/server.h"
#include "proc/vm.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The descriptors that the twin needs; there is always one. */
struct kept {
    int *fds;
    size_t count;
    uint64_t capacity;
};

static void keep(void *context, int fd)
{
    struct kept *kept = context;
    if (fd < 0)
        return;
    int *fds = array_room(kept->fds, kept->count + 1, &kept->capacity, sizeof *fds);
    if (fds == NULL)
        _exit(1);
    kept->fds = fds;
    kept->fds[kept->count++] = fd;
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* musl has no close_range(2) yet. */
static void close_from_to(unsigned first, unsigned last)
{
    syscall(SYS_close_range, first, last, 0);
}

/*
 * By what is kept and not by what is closed: whatever else the source has open, a connection of its guest or
 * a lock on a shared disk, must not live on here.
 */
static void close_others(const struct kept *kept)
{
    if (kept->fds == NULL)
        return;
    qsort(kept->fds, kept->count, sizeof *kept->fds, by_number);
    int next = STDERR_FILENO + 1;
    for (size_t i = 0; i < kept->count; i++) {
        if (kept->fds[i] > next)
            close_from_to((unsigned)next, (unsigned)kept->fds[i] - 1);
        if (kept->fds[i] >= next)
            next = kept->fds[i] + 1;
    }
    close_from_to((unsigned)next, ~0u);
}

static void let_go(const struct vm *source, const struct twin *twin)
{
    const struct machine *machine = &source->machine;
    for (uint32_t i = 0; i < machine->config.vcpu_count; i++)
        munmap(machine->vcpus[i].run, machine->host.run_size);
    struct kept kept = {0};
    keep(&kept, twin->channel);
    keep(&kept, twin->directory);
    keep(&kept, twin->listener_directory);
    keep(&kept, twin->listener);
    keep(&kept, twin->copies);
    keep(&kept, broker_fd());
    keep(&kept, source->memory_fd);
    keep(&kept, source->working_set_fd);
    keep(&kept, machine->host.fd);
    for (uint32_t i = 0; i < machine->config.disk_count; i++) {
        if (disk_mode(machine->disks[i]) != FORKD_DISK_SHARED)
            disk_each_fd(machine->disks[i], keep, &kept);
    }
    close_others(&kept);
    free(kept.fds);
}

static bool has_bit(const uint64_t *bits, uint64_t index)
{
    return (bits[index / 64] >> index % 64 & 1) != 0;
}

static int read_copies(const struct guest_memory *memory, int copies, const uint64_t *copied)
{
    uint64_t pages = memory->size / GUEST_PAGE_SIZE;
    int result = 0;
    for (uint64_t page = 0; page < pages && result == 0;) {
        if (copied[page / 64] == 0) {
            page = (page / 64 + 1) * 64;
            continue;
        }
        uint64_t end = page;
        while (end < pages && has_bit(copied, end))
            end++;
        uint64_t offset = page * GUEST_PAGE_SIZE;
        if (end > page)
            result = io_pread(copies, memory->host + offset, (end - page) * GUEST_PAGE_SIZE, offset);
        page = end + 1;
    }
    return result;
}

/* The same mapping as the source's, with what was copied as this one's own pages. */
static int make_memory(const struct vm *source, const struct twin *twin, void **out, struct forkd_error *err)
{
    struct guest_memory memory = {.size = source->machine.memory.size};
    int flags = MAP_PRIVATE | MAP_NORESERVE | (source->memory_fd < 0 ? MAP_ANONYMOUS : 0);
    void *map = mmap(NULL, memory.size, PROT_READ | PROT_WRITE, flags, source->memory_fd, 0);
    if (map == MAP_FAILED)
        return error_set(err, errno, "mmap", "guest memory", NULL);
    memory.host = map;
    guest_memory_divide(&memory);
    int result = read_copies(&memory, twin->copies, twin->copied);
    close(twin->copies);
    *out = map;
    return result < 0 ? error_set(err, result, "read", "copies of guest memory", NULL) : 0;
}

static int load(struct vm *vm, const struct vm *source, const struct twin *twin, struct forkd_error *err)
{
    struct vmstate_reader reader;
    struct machine_config config;
    struct disk *disks[FORKD_MAX_DISKS];
    for (uint32_t i = 0; i < source->machine.config.disk_count; i++) {
        disks[i] = source->machine.disks[i];
        disk_inherit(disks[i]);
    }
    void *memory = source->machine.memory.host;
    int result = twin->copies < 0 ? 0 : make_memory(source, twin, &memory, err);
    if (result == 0)
        result = vmstate_reader_init(&reader, twin->state.data, twin->state.length, err);
    if (result == 0)
        result = machine_load_config(&config, &reader, err);
    if (result == 0)
        result =
            vm_load_state(vm, &reader, &config, memory, source->memory_fd, disks, &source->machine.host, err);
    if (result != 0)
        return result;
    vm->machine.memory_name = source->machine.memory_name;
    limits_inherit(&vm->machine, &source->machine);
    /* Its memory is the source's, mostly, and so is what an answer takes. */
    vm->working_set_fd = source->working_set_fd;
    return 0;
}

/* The library takes from nobody else which process it is. */
static void introduce(int channel)
{
    const struct control_server_status message = {.header = {CONTROL_MAGIC, CONTROL_SERVER_STATUS},
                                                  .status = {.pid = getpid(), .write_state = FORKD_WRITING}};
    channel_send(channel, CHANNEL_NOW, &message, sizeof message, NULL, 0, NULL);
}

_Noreturn void twin_process(const struct vm *source, const struct twin *twin)
{
    /* The source's own stays behind: closing its devices would be closing the source's. */
    struct vm *vm = calloc(1, sizeof *vm);
    if (vm == NULL)
        _exit(1);
    signal(SIGCHLD, SIG_DFL);
    /* After the fork(2), which has threads to mind: what it takes from here on is not its source's. */
    struct forkd_error error;
    int result = twin->cgroup >= 0 ? cgroup_enter(twin->cgroup, &error) : 0;
    let_go(source, twin);
    introduce(twin->channel);
    if (broker_join(NULL) < 0)
        _exit(1);
    if (twin->listener >= 0)
        vm_detach_process();
    if (result == 0)
        result = load(vm, source, twin, &error);
    server_process_twin(vm, twin, result, &error);
}
