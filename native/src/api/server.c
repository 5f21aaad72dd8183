/* SPDX-License-Identifier: Apache-2.0 */
#include "api/handle.h"

#include "base/channel.h"
#include "base/clock.h"
#include "base/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_IDLE_TIMEOUT_MS 60000

/* A cache: where there is none it is done without. Its users cannot write to it. */
static bool open_working_set(struct fd_list *list, const char *path, bool learn)
{
    return path != NULL &&
           fd_list_open(list, path, learn ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, "working set", NULL) == 0;
}

static int fill_serve_message(const struct forkd_server_options *options, struct control_serve *message,
                              struct fd_list *list, struct forkd_error *err)
{
    message->header = (struct control_header){CONTROL_MAGIC, CONTROL_SERVE};
    message->disk_count = options->disk_count;
    snprintf(message->memory_name, sizeof message->memory_name, "%s", options->memory_path);
    int result = 0;
    message->parked_count = options->parked_count;
    message->idle_timeout_ms =
        options->idle_timeout_ms == 0 ? DEFAULT_IDLE_TIMEOUT_MS : options->idle_timeout_ms;
    message->has_listener = options->control_path != NULL;
    if ((options->flags & ~FORKD_LEARN_WORKING_SET) != 0)
        return error_set(err, EINVAL, "check", "options", "unknown flags");
    if (options->parked_count > FORKD_MAX_PARKED)
        return error_set(err, EINVAL, "check", "parked_count", "%u; at most %d", options->parked_count,
                         FORKD_MAX_PARKED);
    if ((result = check_reserved(options->reserved, 7, err)) < 0 ||
        (result = fd_list_open(list, options->memory_path, O_RDONLY, "memory image", err)) < 0 ||
        (result = fd_list_open(list, options->vmstate_path, O_RDONLY, "vmstate", err)) < 0 ||
        (result = fd_list_open_scratch(list, options->scratch_dir, err)) < 0 ||
        (result = fd_list_listen(list, options->control_path, err)) < 0)
        return result;
    message->has_working_set =
        open_working_set(list, options->working_set_path, (options->flags & FORKD_LEARN_WORKING_SET) != 0);
    return fd_list_open_disks(list, options->disks, options->disk_count, message->disk_modes,
                              message->disk_layer_counts, err);
}

/* The socket of what could not be started; it is the fifth in the list. */
static void remove_listener(const struct control_serve *message, const struct fd_list *list)
{
    if (message->has_listener && list->count > 4)
        listener_unlink(list->fds[4]);
}

int hear(struct forkd_server *server, int timeout_ms, struct forkd_error *err)
{
    union control_message message;
    size_t length = 0;
    int fd = -1;
    uint32_t fd_count = 1;
    int got = receive_message(server->channel, timeout_ms, 0, &message, &length, &fd, &fd_count, err);
    if (got <= 0)
        return got;
    bool parked = length == sizeof message.parked && message.header.type == CONTROL_PARKED && fd_count == 1 &&
                  channel_ask_sender(fd, NULL) == 0;
    if (parked && server->parked_count < FORKD_MAX_PARKED)
        server->parked[server->parked_count++] =
            (struct parked_child){.channel = fd, .pid = message.parked.pid};
    else if (fd_count == 1)
        close(fd);
    if (length == sizeof message.server_status && message.header.type == CONTROL_SERVER_STATUS)
        server->status = message.server_status.status;
    else if (!parked)
        return error_set(err, EPROTO, "receive", "control channel", "unexpected message");
    return 1;
}

static int gone(struct forkd_error *err)
{
    return error_set(err, EPIPE, "receive", "control channel", "the fork server died");
}

/* A detached server is a grandchild, whose parent has ended when it answers; it says its own pid next. */
static int let_go(struct forkd_server *server, struct forkd_error *err)
{
    while (waitpid(server->process, NULL, 0) < 0 && errno == EINTR)
        ;
    server->process = 0;
    server->detached = true;
    int result = hear(server, REQUEST_TIMEOUT_MS, err);
    return result == 0 ? gone(err) : result;
}

/* The server knows a layer by its place only. */
static void name_layer(const struct forkd_server_options *options, struct forkd_error *err)
{
    unsigned disk = 0;
    unsigned layer = 0;
    const char *at = err == NULL ? NULL : strstr(err->text, err->object);
    if (at == NULL || sscanf(err->object, "disk %u, layer %u", &disk, &layer) != 2 ||
        disk >= options->disk_count || layer >= options->disks[disk].layer_count)
        return;
    struct forkd_error named = *err;
    const char *path = options->disks[disk].layer_paths[layer];
    snprintf(named.object, sizeof named.object, "%s", path);
    snprintf(named.text, sizeof named.text, "%.*s%s%s", (int)(at - err->text), err->text, path,
             at + strlen(err->object));
    *err = named;
}

API int forkd_server_start(struct forkd_server **out, const struct forkd_server_options *options,
                           struct forkd_error *err)
{
    struct forkd_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return error_set(err, ENOMEM, "allocate", "fork server", NULL);
    struct control_serve message = {0};
    struct fd_list list = {0};
    int result = fill_serve_message(options, &message, &list, err);
    if (result == 0)
        result = process_start(options->vmm_path, &server->channel, &server->process, err);
    if (result < 0) {
        remove_listener(&message, &list);
        fd_list_close(&list);
        free(server);
        return result;
    }
    uint32_t unanswered = 1;
    result = channel_send(server->channel, REQUEST_TIMEOUT_MS, &message, sizeof message, list.fds, list.count,
                          err);
    if (result == 0)
        result = receive_reply(server->channel, START_TIMEOUT_MS, 0, &unanswered, NULL, NULL, err);
    if (result < 0) {
        name_layer(options, err);
        process_end(server->channel, server->process, result == -ETIMEDOUT);
        remove_listener(&message, &list);
        fd_list_close(&list);
        free(server);
        return result;
    }
    fd_list_close(&list);
    server->status.pid = server->process;
    if (options->control_path != NULL) {
        result = let_go(server, err);
        if (result < 0) {
            forkd_server_free(server);
            return result;
        }
    }
    *out = server;
    return 0;
}

API int32_t forkd_server_pid(const struct forkd_server *server)
{
    return server->status.pid;
}

API void forkd_server_free(struct forkd_server *server)
{
    if (server == NULL)
        return;
    while (server->parked_count > 0)
        close(server->parked[--server->parked_count].channel);
    if (server->detached)
        close(server->channel);
    else if (server->process != 0)
        process_end(server->channel, server->process, false);
    else
        process_let_end(server->channel, server->status.pid);
    free(server);
}

API int forkd_server_attach(struct forkd_server **out, const char *control_path, struct forkd_error *err)
{
    struct forkd_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return error_set(err, ENOMEM, "allocate", "fork server", NULL);
    int result = channel_connect(control_path, ATTACH_TIMEOUT_MS, err);
    if (result < 0) {
        free(server);
        return result;
    }
    server->channel = result;
    server->detached = true;
    result = hear(server, ATTACH_TIMEOUT_MS, err);
    if (result == -ETIMEDOUT)
        result = no_answer(control_path, err);
    if (result == 0)
        result = error_set(err, ECONNREFUSED, "attach to", control_path, "it has just ended");
    if (result < 0) {
        forkd_server_free(server);
        return result;
    }
    *out = server;
    return 0;
}

API int forkd_server_get_status(struct forkd_server *server, struct forkd_server_status *out,
                                struct forkd_error *err)
{
    /* What was said before the question does not answer it. */
    while (hear(server, CHANNEL_NOW, NULL) > 0)
        ;
    struct control_header question = {CONTROL_MAGIC, CONTROL_SERVER_STATUS};
    int result = channel_send(server->channel, REQUEST_TIMEOUT_MS, &question, sizeof question, NULL, 0, err);
    if (result < 0)
        return result;
    server->status.pid = 0; /* every answer has one */
    while (server->status.pid == 0) {
        result = hear(server, REQUEST_TIMEOUT_MS, err);
        if (result <= 0)
            return result == 0 ? gone(err) : result;
    }
    *out = server->status;
    return 0;
}

API int forkd_server_wait_written(struct forkd_server *server, int32_t timeout_ms, struct forkd_error *err)
{
    int64_t deadline = timeout_ms < 0 ? 0 : clock_now_ms() + timeout_ms;
    while (server->status.write_state == FORKD_WRITING) {
        int64_t left = timeout_ms < 0 ? -1 : deadline - clock_now_ms();
        struct pollfd polled = {.fd = server->channel, .events = POLLIN};
        if (poll(&polled, 1, left < 0 && timeout_ms >= 0 ? 0 : (int)left) == 0)
            return error_set(err, ETIMEDOUT, "wait", "branch", "not written after %d ms", timeout_ms);
        int result = hear(server, CHANNEL_NOW, err);
        if (result == 0)
            return gone(err);
        if (result < 0 && result != -EAGAIN)
            return result;
    }
    if (server->status.write_state == FORKD_WRITTEN)
        return 0;
    if (err != NULL)
        *err = server->status.error;
    return server->status.error.code;
}

static int fill_fork_message(const struct forkd_child_options *options, struct control_fork *message,
                             struct fd_list *list, struct forkd_error *err)
{
    message->header = (struct control_header){CONTROL_MAGIC, CONTROL_FORK};
    message->started_us = clock_now_us();
    message->flags = options->flags;
    message->ready_timeout_ms =
        options->ready_timeout_ms == 0 ? DEFAULT_READY_TIMEOUT_MS : options->ready_timeout_ms;
    message->has_console = options->console_path != NULL;
    message->has_tap = options->tap_name != NULL && options->tap_name[0] != '\0';
    message->has_vsock = options->vsock_path != NULL && options->vsock_path[0] != '\0';
    message->has_cgroup = options->cgroup_path != NULL;
    message->has_listener = options->control_path != NULL;
    if ((options->flags & ~FORKD_NO_AGENT) != 0)
        return error_set(err, EINVAL, "check", "options", "unknown flags");
    if ((options->flags & FORKD_NO_AGENT) == 0 && (options->hostname == NULL || options->hostname[0] == '\0'))
        return error_set(err, EINVAL, "check", "hostname", "it is not set");
    int result = 0;
    if ((result = check_reserved(options->reserved, 7, err)) < 0 ||
        (result = copy_limits(&message->limits, &options->limits, err)) < 0 ||
        (result = copy_option(message->hostname, sizeof message->hostname, options->hostname, "hostname",
                              err)) < 0 ||
        (result = copy_option(message->vsock_path, sizeof message->vsock_path, options->vsock_path,
                              "vsock_path", err)) < 0)
        return result;
    if (message->has_console && (result = fd_list_open(list, options->console_path,
                                                       O_RDWR | O_CREAT | O_APPEND, "console log", err)) < 0)
        return result;
    if (message->has_tap &&
        (result = fd_list_open_tap(list, options->tap_name, options->netns_path, err)) < 0)
        return result;
    if (message->has_vsock && (result = fd_list_open_folder_of(list, options->vsock_path, err)) < 0)
        return result;
    if ((result = fd_list_open_cgroup(list, options->cgroup_path, true, err)) < 0)
        return result;
    return fd_list_listen(list, options->control_path, err);
}

/* Give the request to a parked child: its channel, or -1 when there is none that lives. */
static int fork_parked(struct forkd_server *server, struct forkd_vm *vm, const struct control_fork *message,
                       const struct fd_list *list)
{
    while (hear(server, CHANNEL_NOW, NULL) > 0)
        ;
    while (server->parked_count > 0) {
        struct parked_child child = server->parked[--server->parked_count];
        if (channel_send(child.channel, CHANNEL_NOW, message, sizeof *message, list->fds, list->count,
                         NULL) == 0) {
            vm->taken = child.pid;
            vm->server_channel = fcntl(server->channel, F_DUPFD_CLOEXEC, 0);
            return child.channel;
        }
        close(child.channel);
    }
    return -1;
}

void tell_taken(struct forkd_vm *vm)
{
    if (vm->server_channel < 0)
        return;
    struct control_taken taken = {
        .header = {CONTROL_MAGIC, CONTROL_TAKEN}, .pid = vm->taken, .detached = vm->detached};
    channel_send(vm->server_channel, REQUEST_TIMEOUT_MS, &taken, sizeof taken, NULL, 0, NULL);
    close(vm->server_channel);
    vm->server_channel = -1;
}

/* Have the server fork one now: our end of its channel, or a negative errno. */
static int fork_now(struct forkd_server *server, const struct control_fork *message,
                    const struct fd_list *list, struct forkd_error *err)
{
    int pair[2];
    int result = channel_pair(pair, err);
    if (result < 0)
        return result;
    channel_ask_sender(pair[0], NULL);
    struct fd_list all = {.fds = {pair[1]}, .count = 1};
    for (uint32_t i = 0; i < list->count; i++)
        all.fds[all.count++] = list->fds[i];
    result =
        channel_send(server->channel, REQUEST_TIMEOUT_MS, message, sizeof *message, all.fds, all.count, err);
    close(pair[1]);
    if (result < 0) {
        close(pair[0]);
        return result;
    }
    return pair[0];
}

API int forkd_server_fork(struct forkd_server *server, const struct forkd_child_options *options,
                          struct forkd_vm **out, struct forkd_error *err)
{
    struct forkd_vm *vm = calloc(1, sizeof *vm);
    if (vm == NULL)
        return error_set(err, ENOMEM, "allocate", "VM", NULL);
    vm->server_channel = -1;
    vm->server = server->status.pid;
    struct control_fork message = {0};
    struct fd_list list = {0};
    int result = fill_fork_message(options, &message, &list, err);
    if (result == 0) {
        memcpy(vm->vsock_path, message.vsock_path, sizeof vm->vsock_path);
        listener_note(vm->vsock_path, &vm->vsock_before);
        result = message.has_cgroup ? -1 : fork_parked(server, vm, &message, &list);
        if (result < 0)
            result = fork_now(server, &message, &list, err);
    }
    if (result < 0 && message.has_listener && list.count > 0)
        listener_unlink(list.fds[list.count - 1]);
    fd_list_close(&list);
    if (result < 0) {
        free(vm);
        return result;
    }
    vm->channel = result;
    vm->detached = options->control_path != NULL;
    *out = vm;
    return 0;
}
