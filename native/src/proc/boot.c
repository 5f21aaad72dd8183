/* SPDX-License-Identifier: Apache-2.0 */
/* A machine that boots a kernel. */
#include "proc/vm_parts.h"

#include "base/broker.h"
#include "machine/limits.h"
#include "proc/cgroup.h"
#include "proc/confine.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

/* More memory than the host can ever give would only end in the OOM killer. */
static int check_memory(uint64_t bytes, struct forkd_error *err)
{
    uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (bytes <= host)
        return 0;
    return error_set(err, ENOMEM, "allocate", "guest memory", "%llu MiB asked for; the host has %llu MiB",
                     (unsigned long long)(bytes >> 20), (unsigned long long)(host >> 20));
}

static int boot(struct vm *vm, const struct control_boot *message, const int *fds, uint32_t fd_count,
                struct forkd_error *err)
{
    uint32_t fixed = 2u + message->has_initrd + message->has_console + message->has_tap + message->has_vsock +
                     message->has_cgroup;
    if (fd_count < fixed || message->disk_count > FORKD_MAX_DISKS)
        return error_set(err, EPROTO, "receive", "control channel", "a descriptor is missing");
    uint32_t next = 2;
    int initrd = message->has_initrd ? fds[next++] : -1;
    vm->console_fd = message->has_console ? fds[next++] : -1;
    int tap = message->has_tap ? fds[next++] : -1;
    vm->vsock_directory = message->has_vsock ? fds[next++] : -1;
    int cgroup = message->has_cgroup ? fds[next++] : -1;
    struct machine_config config = {.memory_bytes = message->memory_bytes,
                                    .vcpu_count = message->vcpu_count,
                                    .disk_count = message->disk_count,
                                    .has_net = message->has_net != 0,
                                    .has_balloon = true,
                                    .baseline_cpu = message->cpu_template == FORKD_CPU_BASELINE};
    memcpy(config.disk_modes, message->disk_modes, sizeof config.disk_modes);
    memcpy(config.mac, message->mac, sizeof config.mac);
    struct disk *disks[FORKD_MAX_DISKS] = {0};
    int result = cgroup >= 0 ? cgroup_enter(cgroup, err) : 0;
    if (cgroup >= 0)
        close(cgroup);
    if (result < 0 || (result = check_memory(config.memory_bytes, err)) < 0 ||
        (result = vm_open_disks(disks, message->disk_count, message->disk_modes, NULL, fds + next,
                                fd_count - next, fds[1], err)) < 0)
        return result;
    void *memory = mmap(NULL, config.memory_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(err, errno, "mmap", "guest memory", NULL);
    vm->vsock_host.accept = agent_accept;
    vm->memory_fd = -1;
    vm->working_set_fd = -1;
    struct kvm_host host;
    if ((result = kvm_host_open(&host, true, err)) < 0 ||
        (result = machine_init(&vm->machine, &config, memory, disks, vm->console_fd, &vm->vsock_host, err)) <
            0)
        return result;
    vm->machine.host = host;
    vm->machine.ready = vm_on_guest_ready;
    vm->machine.ended = vm_on_ended;
    vm->machine.thawed = vm_on_thawed;
    if ((result = machine_create_vm(&vm->machine, err)) < 0 ||
        (result = limits_apply(&vm->machine, &message->limits, err)) < 0 ||
        (result = vm_attach_net(vm, tap, err)) < 0 ||
        (result = loop_add(&vm->machine.loop, &vm->owner.watch, vm->owner.fd, EPOLLIN, err)) < 0)
        return result;
    result = machine_boot(&vm->machine, fds[0], initrd, message->command_line, err);
    close(fds[0]);
    if (initrd >= 0)
        close(initrd);
    return result < 0 ? result : machine_run(&vm->machine, false, err);
}

_Noreturn void vm_process_boot(int channel, const struct control_boot *message, const int *fds,
                               uint32_t fd_count)
{
    static struct vm vm;
    vm_set_name("forkd-vm");
    vm_own_process(&vm);
    vm.deadline_watch.fd = -1;
    vm_init(&vm);
    vm_give(&vm, channel, message->flags, message->vsock_path);
    struct forkd_error error;
    int result = confine_to_own_user(&error);
    if (result == 0)
        result = broker_join(&error);
    if (result == 0)
        result = boot(&vm, message, fds, fd_count, &error);
    /* A machine that is quick to end may already have said so: the reply must be the first message. It is, as
     * the owner reads STATUS messages while it waits for the reply. */
    vm_send_reply(channel, result, &error);
    if (result < 0)
        vm_leave(&vm);
    if (vm_start_loop(&vm, &error) < 0)
        vm_fail_start(&vm, &error);
    vm_run(&vm);
}
