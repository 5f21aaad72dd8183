/* SPDX-License-Identifier: Apache-2.0 */
/* A machine out of a snapshot, for the fork server. */
#include "proc/vm_parts.h"

#include "machine/host.h"
#include "snapshot/memory_image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define NAME_SIZE 32

/* `layer_counts`: NULL when no disk has layers. */
int vm_open_disks(struct disk **disks, uint32_t count, const uint32_t *modes, const uint32_t *layer_counts,
                  const int *fds, uint32_t fd_count, int scratch, struct forkd_error *err)
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

int vm_load_state(struct vm *vm, const struct vmstate_reader *reader, const struct machine_config *config,
                  void *memory, int memory_fd, struct disk **disks, const struct kvm_host *host,
                  struct forkd_error *err)
{
    vm->vsock_host = (struct vsock_host){
        .accept = agent_accept, .opening = first_answer_opening, .answered = first_answer_given};
    vm->deadline_watch.fd = -1;
    vm->memory_fd = memory_fd;
    vm->working_set_fd = -1;
    int result = machine_init(&vm->machine, config, memory, disks, -1, &vm->vsock_host, err);
    vm->machine.host = *host;
    return result < 0 ? result : machine_load(&vm->machine, reader, err);
}

/* All of it. Returns where, or NULL. */
static void *map_state(int fd, size_t *length, struct forkd_error *err)
{
    struct stat info;
    if (fstat(fd, &info) < 0) {
        error_set(err, errno, "stat", "vmstate", NULL);
        return NULL;
    }
    if (!S_ISREG(info.st_mode) || info.st_size <= 0 || (uint64_t)info.st_size > VMSTATE_MAX_BYTES) {
        error_set(err, EBADMSG, "read", "vmstate", "the file has %lld bytes", (long long)info.st_size);
        return NULL;
    }
    *length = (size_t)info.st_size;
    void *bytes = mmap(NULL, *length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (bytes != MAP_FAILED)
        return bytes;
    error_set(err, errno, "mmap", "vmstate", NULL);
    return NULL;
}

int vm_check_state(int fd, struct forkd_error *err)
{
    struct vmstate_reader reader;
    struct machine_config config;
    struct host_record made_on;
    struct kvm_host host = {.fd = -1};
    size_t length = 0;
    void *bytes = map_state(fd, &length, err);
    if (bytes == NULL)
        return err->code;
    int result = vmstate_reader_init(&reader, bytes, length, err);
    if (result == 0)
        result = machine_load_config(&config, &reader, err);
    if (result == 0)
        result = host_load(&made_on, &reader, err);
    if (result == 0)
        result = kvm_host_open(&host, true, err);
    for (uint32_t i = 0; result == 0 && i < config.vcpu_count; i++) {
        struct vcpu_state state;
        result = vcpu_state_load(&state, i, &reader, err);
        if (result == 0) {
            result = host_check(&made_on, &state, &host, err);
            vcpu_state_free(&state);
        }
    }
    if (host.fd >= 0)
        kvm_host_close(&host);
    munmap(bytes, length);
    return result;
}

int vm_load(struct vm *vm, const struct control_serve *message, const int *fds, uint32_t fd_count,
            struct forkd_error *err)
{
    uint32_t fixed = 3u + 2u * (message->has_listener != 0) + (message->has_working_set != 0);
    if (fd_count < fixed || message->disk_count > FORKD_MAX_DISKS)
        return error_set(err, EPROTO, "receive", "control channel", "a descriptor is missing");
    size_t length = 0;
    void *bytes = map_state(fds[1], &length, err);
    if (bytes == NULL)
        return err->code;
    struct vmstate_reader reader;
    struct machine_config config;
    struct disk *disks[FORKD_MAX_DISKS] = {0};
    struct kvm_host host = {.fd = -1};
    void *memory = NULL;
    int result = vmstate_reader_init(&reader, bytes, length, err);
    if (result == 0)
        result = machine_load_config(&config, &reader, err);
    if (result == 0 && config.disk_count != message->disk_count)
        result = error_set(err, EINVAL, "load", "vmstate", "the snapshot has %u disks, %u were given",
                           config.disk_count, message->disk_count);
    if (result == 0)
        result = vm_open_disks(disks, config.disk_count, message->disk_modes, message->disk_layer_counts,
                               fds + fixed, fd_count - fixed, fds[2], err);
    if (result == 0)
        result = memory_image_map(fds[0], config.memory_bytes, &memory, err);
    if (result == 0)
        result = kvm_host_open(&host, true, err);
    if (result == 0)
        result = vm_load_state(vm, &reader, &config, memory, fds[0], disks, &host, err);
    if (result == 0 &&
        (vm->machine.memory_name = strndup(message->memory_name, sizeof message->memory_name - 1)) == NULL)
        result = error_set(err, ENOMEM, "allocate", "name of memory", NULL);
    vm->of_files = true;
    if (result == 0 && message->has_working_set)
        vm->working_set_fd = fds[fixed - 1];
    munmap(bytes, length);
    return result;
}
