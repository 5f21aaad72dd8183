/* SPDX-License-Identifier: Apache-2.0 */
#include "api/handle.h"

#include "base/channel.h"
#include "base/clock.h"
#include "base/guest_memory.h"
#include "base/listener.h"
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_MEMORY (512ull << 20)
#define DEFAULT_VCPUS 2

static const uint8_t default_mac[6] = {0xaa, 0xfc, 0x00, 0x00, 0x00, 0x01};

API const char *forkd_version(void)
{
    return FORKD_VERSION;
}

static int check_boot_options(const struct forkd_boot_options *options, struct forkd_error *err)
{
    if (options->memory_bytes != 0 &&
        (options->memory_bytes < GUEST_MEMORY_MIN || options->memory_bytes % GUEST_PAGE_SIZE != 0))
        return error_set(err, EINVAL, "check", "memory_bytes",
                         "%llu is not a multiple of 4096 from 64 MiB up",
                         (unsigned long long)options->memory_bytes);
    if (options->vcpu_count > FORKD_MAX_VCPUS)
        return error_set(err, EINVAL, "check", "vcpu_count", "%u; at most %d", options->vcpu_count,
                         FORKD_MAX_VCPUS);
    if ((options->flags & ~FORKD_NO_AGENT) != 0 || options->mac_reserved[0] != 0 ||
        options->mac_reserved[1] != 0)
        return error_set(err, EINVAL, "check", "options", "a reserved field is not zero");
    if (options->cpu_template > FORKD_CPU_BASELINE)
        return error_set(err, EINVAL, "check", "cpu_template", "there is no template %u",
                         options->cpu_template);
    return check_reserved(options->reserved, 7, err);
}

static int fill_boot_message(const struct forkd_boot_options *options, struct control_boot *message,
                             struct fd_list *list, struct forkd_error *err)
{
    static const uint8_t no_mac[6];
    message->header = (struct control_header){CONTROL_MAGIC, CONTROL_BOOT};
    message->memory_bytes = options->memory_bytes == 0 ? DEFAULT_MEMORY : options->memory_bytes;
    message->vcpu_count = options->vcpu_count == 0 ? DEFAULT_VCPUS : options->vcpu_count;
    message->disk_count = options->disk_count;
    message->flags = options->flags;
    message->cpu_template = options->cpu_template;
    message->has_initrd = options->initrd_path != NULL;
    message->has_console = options->console_path != NULL;
    message->has_net = options->tap_name != NULL;
    message->has_tap = options->tap_name != NULL && options->tap_name[0] != '\0';
    message->has_vsock = options->vsock_path != NULL && options->vsock_path[0] != '\0';
    message->has_cgroup = options->cgroup_path != NULL;
    memcpy(message->mac, memcmp(options->mac, no_mac, 6) == 0 ? default_mac : options->mac, 6);
    int result = 0;
    if ((result = copy_limits(&message->limits, &options->limits, err)) < 0 ||
        (result = copy_option(message->vsock_path, sizeof message->vsock_path, options->vsock_path,
                              "vsock_path", err)) < 0 ||
        (result = copy_option(message->command_line, sizeof message->command_line, options->command_line,
                              "command_line", err)) < 0 ||
        (result = fd_list_open(list, options->kernel_path, O_RDONLY, "kernel", err)) < 0 ||
        (result = fd_list_open_scratch(list, options->scratch_dir, err)) < 0)
        return result;
    if (message->has_initrd &&
        (result = fd_list_open(list, options->initrd_path, O_RDONLY, "initrd", err)) < 0)
        return result;
    if (message->has_console && (result = fd_list_open(list, options->console_path,
                                                       O_RDWR | O_CREAT | O_APPEND, "console log", err)) < 0)
        return result;
    if (message->has_tap && (result = fd_list_open_tap(list, options->tap_name, NULL, err)) < 0)
        return result;
    if ((message->has_vsock && (result = fd_list_open_folder_of(list, options->vsock_path, err)) < 0) ||
        (result = fd_list_open_cgroup(list, options->cgroup_path, false, err)) < 0)
        return result;
    return fd_list_open_disks(list, options->disks, options->disk_count, message->disk_modes, NULL, err);
}

/* The process went without a word: something killed it. */
static void note_death(struct forkd_vm *vm)
{
    if (vm->status.phase == FORKD_VM_ENDED)
        return;
    vm->status.phase = FORKD_VM_ENDED;
    vm->status.end = FORKD_END_KILLED;
}

/* `branch` as in receive_reply. */
static int request(struct forkd_vm *vm, int timeout_ms, const void *message, size_t length,
                   const struct fd_list *list, struct forkd_branch_result *branch, struct forkd_error *err)
{
    int result = channel_send(vm->channel, REQUEST_TIMEOUT_MS, message, length, list->fds, list->count, err);
    if (result == 0) {
        vm->unanswered++;
        result =
            receive_reply(vm->channel, timeout_ms, vm->server, &vm->unanswered, &vm->status, branch, err);
    }
    if (result == -EPIPE)
        note_death(vm);
    return result;
}

API int forkd_vm_boot(struct forkd_vm **out, const struct forkd_boot_options *options,
                      struct forkd_error *err)
{
    int result = check_boot_options(options, err);
    if (result < 0)
        return result;
    struct control_boot message = {0};
    struct fd_list list = {0};
    struct forkd_vm *vm = calloc(1, sizeof *vm);
    if (vm == NULL)
        return error_set(err, ENOMEM, "allocate", "VM", NULL);
    result = fill_boot_message(options, &message, &list, err);
    if (result == 0)
        result = process_start(options->vmm_path, &vm->channel, &vm->process, err);
    if (result < 0) {
        fd_list_close(&list);
        free(vm);
        return result;
    }
    vm->server_channel = -1;
    memcpy(vm->vsock_path, message.vsock_path, sizeof vm->vsock_path);
    listener_note(vm->vsock_path, &vm->vsock_before);
    vm->status.pid = vm->process;
    result = request(vm, START_TIMEOUT_MS, &message, sizeof message, &list, NULL, err);
    fd_list_close(&list);
    if (result < 0) {
        process_end(vm->channel, vm->process, result == -ETIMEDOUT);
        free(vm);
        return result;
    }
    *out = vm;
    return 0;
}

/* Which process it is of all that get its number: it cannot look itself. That it still has the channel open
 * says that the number was its own meanwhile. */
static void note_start_time(struct forkd_vm_status *status, int channel)
{
    uint64_t start_time = status->pid == 0 ? 0 : process_start_time(status->pid);
    struct pollfd polled = {.fd = channel, .events = 0};
    status->start_time = poll(&polled, 1, 0) == 0 ? start_time : 0;
}

/* The phase is the last that was said. */
static void take_status(struct forkd_vm *vm, const struct forkd_vm_status *said)
{
    keep_status(&vm->status, said);
    if (vm->detached && vm->status.start_time == 0 && said->phase != FORKD_VM_ENDED)
        note_start_time(&vm->status, vm->channel);
}

/* Take in one message, if there is one. False: nothing there. */
static bool receive_status(struct forkd_vm *vm)
{
    union control_message message;
    size_t length = 0;
    uint32_t no_fds = 0;
    int got = receive_message(vm->channel, CHANNEL_NOW, vm->server, &message, &length, NULL, &no_fds, NULL);
    if (got == -EAGAIN)
        return false;
    if (got > 0 && message.header.type == CONTROL_STATUS && length == sizeof message.status)
        take_status(vm, &message.status.status);
    else if (got > 0 && message.header.type == CONTROL_REPLY && vm->unanswered > 0)
        vm->unanswered--; /* it comes too late */
    else
        note_death(vm);
    return true;
}

static int wait_phase(struct forkd_vm *vm, uint32_t phase, int32_t timeout_ms, struct forkd_vm_status *out,
                      struct forkd_error *err)
{
    int64_t deadline = timeout_ms < 0 ? 0 : clock_now_ms() + timeout_ms;
    for (;;) {
        /* All that was said, for the last counts: a VM that became ready and then ended has ended, and one
         * that was reset is not ready. */
        while (vm->status.phase != FORKD_VM_ENDED && receive_status(vm))
            ;
        if (vm->status.phase >= phase)
            break;
        int64_t left = timeout_ms < 0 ? -1 : deadline - clock_now_ms();
        struct pollfd polled = {.fd = vm->channel, .events = POLLIN};
        if ((timeout_ms >= 0 && left <= 0) || poll(&polled, 1, (int)left) == 0) {
            return error_set(err, ETIMEDOUT, "wait", "VM", "not %s after %d ms",
                             phase == FORKD_VM_READY ? "ready" : "ended", timeout_ms);
        }
    }
    tell_taken(vm);
    if (out != NULL)
        *out = vm->status;
    return 0;
}

API int forkd_vm_wait(struct forkd_vm *vm, int32_t timeout_ms, struct forkd_vm_status *out,
                      struct forkd_error *err)
{
    return wait_phase(vm, FORKD_VM_READY, timeout_ms, out, err);
}

/* The first that is ready or has ended: its index, or `count`. */
static uint32_t find_ready(struct forkd_vm *const *vms, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while (vms[i]->status.phase != FORKD_VM_ENDED && receive_status(vms[i]))
            ;
        if (vms[i]->status.phase >= FORKD_VM_READY)
            return i;
    }
    return count;
}

API int forkd_vm_wait_any(struct forkd_vm *const *vms, uint32_t count, int32_t timeout_ms, uint32_t *out,
                          struct forkd_error *err)
{
    if (count == 0)
        return error_set(err, EINVAL, "wait", "VMs", "there are none");
    struct pollfd *polled = calloc(count, sizeof *polled);
    if (polled == NULL)
        return error_set(err, ENOMEM, "allocate", "descriptors", NULL);
    for (uint32_t i = 0; i < count; i++)
        polled[i] = (struct pollfd){.fd = vms[i]->channel, .events = POLLIN};
    int64_t deadline = timeout_ms < 0 ? 0 : clock_now_ms() + timeout_ms;
    int result = 0;
    while (result == 0 && (*out = find_ready(vms, count)) == count) {
        int64_t left = timeout_ms < 0 ? -1 : deadline - clock_now_ms();
        if ((timeout_ms >= 0 && left <= 0) || poll(polled, count, (int)left) == 0)
            result = error_set(err, ETIMEDOUT, "wait", "VMs", "none ready after %d ms", timeout_ms);
    }
    free(polled);
    return result;
}

API int forkd_vm_wait_end(struct forkd_vm *vm, int32_t timeout_ms, struct forkd_vm_status *out,
                          struct forkd_error *err)
{
    return wait_phase(vm, FORKD_VM_ENDED, timeout_ms, out, err);
}

API int forkd_vm_fd(const struct forkd_vm *vm)
{
    return vm->channel;
}

API int forkd_vm_snapshot(struct forkd_vm *vm, const char *directory, struct forkd_error *err)
{
    struct fd_list list = {0};
    int result = fd_list_open(&list, directory, O_RDONLY | O_DIRECTORY, "snapshot folder", err);
    if (result < 0)
        return result;
    struct control_snapshot message = {.header = {CONTROL_MAGIC, CONTROL_SNAPSHOT}};
    result = request(vm, SNAPSHOT_TIMEOUT_MS, &message, sizeof message, &list, NULL, err);
    fd_list_close(&list);
    return result;
}

API int forkd_vm_connect(struct forkd_vm *vm, uint32_t port, int *out_fd, struct forkd_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(err, errno, "socketpair", "vsock connection", NULL);
    struct control_connect message = {.header = {CONTROL_MAGIC, CONTROL_CONNECT}, .port = port};
    struct fd_list list = {.fds = {pair[1]}, .count = 1};
    int result = request(vm, REQUEST_TIMEOUT_MS, &message, sizeof message, &list, NULL, err);
    fd_list_close(&list);
    if (result < 0)
        close(pair[0]);
    else
        *out_fd = pair[0];
    return result;
}

static int fill_branch_message(const struct forkd_branch_options *options, struct control_branch *message,
                               struct fd_list *list, struct forkd_error *err)
{
    message->header = (struct control_header){CONTROL_MAGIC, CONTROL_BRANCH};
    message->flags = options->flags;
    message->way = options->way;
    message->has_listener = options->control_path != NULL;
    message->has_cgroup = options->cgroup_path != NULL;
    if (options->flags != 0 && options->flags != FORKD_BRANCH_LAYER &&
        options->flags != FORKD_BRANCH_UNWRITTEN)
        return error_set(err, EINVAL, "check", "options", "unknown flags");
    if (options->way > FORKD_BRANCH_PRECOPY)
        return error_set(err, EINVAL, "check", "way", "there is no way %u", options->way);
    int result = check_reserved(options->reserved, 7, err);
    if (result == 0)
        result = fd_list_open(list, options->directory, O_RDONLY | O_DIRECTORY, "snapshot folder", err);
    if (result == 0)
        result = fd_list_listen(list, options->control_path, err);
    return result < 0 ? result : fd_list_open_cgroup(list, options->cgroup_path, false, err);
}

API int forkd_vm_branch(struct forkd_vm *vm, const struct forkd_branch_options *options,
                        struct forkd_server **out, struct forkd_branch_result *result,
                        struct forkd_error *err)
{
    struct forkd_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return error_set(err, ENOMEM, "allocate", "fork server", NULL);
    int pair[2];
    int code = channel_pair(pair, err);
    if (code < 0) {
        free(server);
        return code;
    }
    channel_ask_sender(pair[0], NULL);
    struct fd_list list = {.fds = {pair[1]}, .count = 1};
    struct control_branch message = {0};
    struct forkd_branch_result branch = {0};
    message.room = memory_room(vm->status.pid);
    code = fill_branch_message(options, &message, &list, err);
    if (code == 0)
        code = request(vm, BRANCH_TIMEOUT_MS, &message, sizeof message, &list, &branch, err);
    if (code < 0 && message.has_listener && list.count >= 4)
        listener_unlink(list.fds[3]);
    fd_list_close(&list);
    if (code < 0) {
        close(pair[0]);
        free(server);
        return code;
    }
    server->channel = pair[0];
    server->detached = options->control_path != NULL;
    server->status = (struct forkd_server_status){.write_state = FORKD_WRITING};
    /* Which process it is says itself: its source may have been taken over. When it cannot, it is told later
     * that it died. */
    hear(server, REQUEST_TIMEOUT_MS, NULL);
    branch.pid = server->status.pid;
    *out = server;
    if (result != NULL)
        *result = branch;
    return 0;
}

API int forkd_vm_reset(struct forkd_vm *vm, const struct forkd_reset_options *options,
                       struct forkd_error *err)
{
    struct control_reset message = {.header = {CONTROL_MAGIC, CONTROL_RESET},
                                    .started_us = clock_now_us(),
                                    .ready_timeout_ms = options->ready_timeout_ms == 0
                                                            ? DEFAULT_READY_TIMEOUT_MS
                                                            : options->ready_timeout_ms};
    struct fd_list none = {0};
    int result = check_reserved(options->reserved, 6, err);
    if (result == 0 && options->reserved32 != 0)
        result = error_set(err, EINVAL, "check", "options", "a reserved field is not zero");
    if (result == 0)
        result = copy_option(message.hostname, sizeof message.hostname, options->hostname, "hostname", err);
    return result < 0 ? result : request(vm, REQUEST_TIMEOUT_MS, &message, sizeof message, &none, NULL, err);
}

API int forkd_vm_freeze(struct forkd_vm *vm, uint32_t after_ms, struct forkd_error *err)
{
    struct control_freeze message = {.header = {CONTROL_MAGIC, CONTROL_FREEZE}, .after_ms = after_ms};
    struct fd_list none = {0};
    return request(vm, REQUEST_TIMEOUT_MS, &message, sizeof message, &none, NULL, err);
}

static int receive_status_of(int channel, const char *path, struct forkd_vm_status *status,
                             struct forkd_error *err)
{
    union control_message message;
    size_t length = 0;
    uint32_t no_fds = 0;
    int got = receive_message(channel, ATTACH_TIMEOUT_MS, 0, &message, &length, NULL, &no_fds, err);
    if (got < 0)
        return got == -ETIMEDOUT ? no_answer(path, err) : got;
    if (got == 0)
        return error_set(err, ECONNREFUSED, "attach to", path, "it has just ended");
    if (length != sizeof message.status || message.header.magic != CONTROL_MAGIC ||
        message.header.type != CONTROL_STATUS)
        return error_set(err, EPROTO, "attach to", path, "it is no VM, or of another version");
    *status = message.status.status;
    if (status->phase != FORKD_VM_ENDED)
        note_start_time(status, channel);
    return 0;
}

API int forkd_vm_attach(struct forkd_vm **out, const char *control_path, struct forkd_error *err)
{
    struct forkd_vm *vm = calloc(1, sizeof *vm);
    if (vm == NULL)
        return error_set(err, ENOMEM, "allocate", "VM", NULL);
    int channel = channel_connect(control_path, ATTACH_TIMEOUT_MS, err);
    int result = channel < 0 ? channel : receive_status_of(channel, control_path, &vm->status, err);
    if (result < 0) {
        if (channel >= 0)
            close(channel);
        free(vm);
        return result;
    }
    vm->channel = channel;
    vm->server_channel = -1;
    vm->detached = true;
    *out = vm;
    return 0;
}

API void forkd_vm_kill(struct forkd_vm *vm)
{
    /* A child tells its pid when it is ready or has failed, and before that when it is asked. */
    if (vm->status.pid == 0 && !receive_status(vm)) {
        struct control_header question = {CONTROL_MAGIC, CONTROL_STATUS};
        channel_send(vm->channel, CHANNEL_NOW, &question, sizeof question, NULL, 0, NULL);
    }
    int64_t deadline = clock_now_ms() + PROCESS_AWAIT_MS;
    while (vm->status.pid == 0 && vm->status.phase != FORKD_VM_ENDED && clock_now_ms() < deadline) {
        struct pollfd polled = {.fd = vm->channel, .events = POLLIN};
        poll(&polled, 1, PROCESS_AWAIT_MS);
        receive_status(vm);
    }
    /* Its server is stopped, or it is: it ends as soon as it sees that nobody is here. */
    if (vm->status.pid == 0)
        shutdown(vm->channel, SHUT_RDWR);
    int pidfd = process_open(vm->status.pid, vm->channel);
    if (pidfd >= 0)
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    else if (vm->status.pid != 0)
        pidfd = (int)syscall(SYS_pidfd_open, vm->status.pid, 0); /* it may be on its way out */
    process_await(pidfd);
    note_death(vm);
}

API int forkd_process_kill(int32_t pid, uint64_t start_time, struct forkd_error *err)
{
    char name[32];
    snprintf(name, sizeof name, "process %d", pid);
    int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (pidfd < 0)
        return error_set(err, pid > 0 ? errno : EINVAL, "kill", name, NULL);
    int result = 0;
    /* What is compared is the process that the descriptor is of: it had the number before that was asked. */
    if (start_time == 0 || process_start_time(pid) != start_time)
        result = error_set(err, ESRCH, "kill", name, "the number is another process's now");
    else if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
        result = error_set(err, errno, "kill", name, NULL);
    if (result < 0)
        close(pidfd);
    else if (!process_await(pidfd))
        result = error_set(err, ETIMEDOUT, "kill", name, "it was killed, and is not gone after %d s",
                           PROCESS_AWAIT_MS / 1000);
    return result;
}

API void forkd_vm_free(struct forkd_vm *vm)
{
    if (vm == NULL)
        return;
    tell_taken(vm);
    if (vm->detached) {
        close(vm->channel);
        free(vm);
        return;
    }
    forkd_vm_kill(vm);
    if (vm->process != 0)
        process_end(vm->channel, vm->process, false);
    else
        close(vm->channel);
    listener_remove_left(vm->vsock_path, &vm->vsock_before);
    free(vm);
}
