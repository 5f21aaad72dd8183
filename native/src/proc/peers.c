/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds the VM: what they are told, and what they ask for. */
#include "proc/vm_parts.h"

#include "base/channel.h"
#include "base/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* The lock is held: who does not read is dropped, not waited for. That, too, is noticed on the peer's watch.
 */
static void tell(const struct vm_peer *peer, const void *message, size_t length)
{
    if (channel_send(peer->fd, CHANNEL_NOW, message, length, NULL, 0, NULL) < 0)
        shutdown(peer->fd, SHUT_RDWR);
}

void peers_reply(const struct vm_peer *peer, const struct control_reply *reply)
{
    tell(peer, reply, sizeof *reply);
}

static void send_status(const struct vm_peer *peer)
{
    struct control_status message = {.header = {CONTROL_MAGIC, CONTROL_STATUS}, .status = peer->vm->status};
    tell(peer, &message, sizeof message);
}

void peers_publish(struct vm *vm)
{
    for (const struct vm_peer *peer = vm->peers; peer != NULL; peer = peer->next)
        send_status(peer);
}

void vm_send_reply(int channel, int result, const struct forkd_error *error)
{
    struct control_reply reply = {.header = {CONTROL_MAGIC, CONTROL_REPLY}};
    if (result < 0)
        reply.error = *error;
    channel_send(channel, CHANNEL_NOW, &reply, sizeof reply, NULL, 0, NULL);
}

static int add_peer(struct vm *vm, struct vm_peer *peer, int fd, struct forkd_error *err)
{
    *peer =
        (struct vm_peer){.vm = vm, .fd = fd, .watch = {.fd = -1, .ready = peers_on_peer}, .next = vm->peers};
    int result = loop_add(&vm->machine.loop, &peer->watch, fd, EPOLLIN, err);
    if (result == 0)
        vm->peers = peer;
    return result;
}

/* Without anybody who holds it, a VM that is not detached ends. */
static void remove_peer(struct vm_peer *peer)
{
    struct vm *vm = peer->vm;
    if (vm->listener_watch.fd < 0)
        vm_leave(vm);
    struct vm_peer **link = &vm->peers;
    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    loop_remove(&vm->machine.loop, &peer->watch);
    close(peer->fd);
    peer->fd = -1; /* the owner's is looked at in a handler of signals */
    if (peer != &vm->owner)
        free(peer);
}

static int serve_connect(struct vm *vm, int stream, uint32_t port, struct forkd_error *err)
{
    int result = vm_check_ready(vm, "connect", err);
    if (result < 0) {
        close(stream);
        return result;
    }
    return vsock_connect(vm->machine.vsock, stream, port, err);
}

/* 1: the reply comes later, and the descriptors have been taken. */
static int serve_request(struct vm_peer *peer, const union control_message *message, size_t length, int *fds,
                         uint32_t fd_count, struct control_reply *reply)
{
    struct vm *vm = peer->vm;
    struct forkd_error *err = &reply->error;
    int result = 0;
    if (length == sizeof message->snapshot && message->header.type == CONTROL_SNAPSHOT && fd_count == 1) {
        result = vm_snapshot(vm, fds[0], err);
    } else if (length == sizeof message->branch && message->header.type == CONTROL_BRANCH &&
               fd_count ==
                   2u + 2u * (message->branch.has_listener != 0) + (message->branch.has_cgroup != 0)) {
        result = vm_branch(vm, peer, &message->branch, fds, fd_count, &reply->branch, err);
    } else if (length == sizeof message->connect && message->header.type == CONTROL_CONNECT &&
               fd_count == 1) {
        result = serve_connect(vm, fds[0], message->connect.port, err);
        fds[0] = -1; /* the device's now, or closed */
    } else if (length == sizeof message->reset && message->header.type == CONTROL_RESET && fd_count == 0) {
        result = vm_reset(vm, &message->reset, err);
    } else if (length == sizeof message->freeze && message->header.type == CONTROL_FREEZE && fd_count == 0) {
        result = vm_freeze(vm, message->freeze.after_ms, err);
    } else {
        result = error_set(err, EPROTO, "receive", "control channel", "unexpected message");
    }
    if (result == 0)
        memset(err, 0, sizeof *err);
    return result;
}

void peers_on_peer(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm_peer *peer = container_of(watch, struct vm_peer, watch);
    struct vm *vm = peer->vm;
    union control_message message;
    size_t length = 0;
    int fds[CONTROL_BRANCH_MAX_FDS];
    uint32_t fd_count = CONTROL_BRANCH_MAX_FDS;
    int got = channel_receive(peer->fd, CHANNEL_NOW, &message, sizeof message, &length, fds, &fd_count, NULL);
    if (got == -EAGAIN)
        return;
    if (got <= 0) {
        branch_finish_of(vm, peer);
        remove_peer(peer);
        return;
    }
    if (length < sizeof message.header || message.header.magic != CONTROL_MAGIC)
        message.header.type = 0;
    if (length == sizeof message.header && message.header.type == CONTROL_STATUS && fd_count == 0) {
        send_status(peer);
        return;
    }
    /* Replies come in the order of requests, and only one thing is done with the whole VM at a time. */
    if (message.header.type == CONTROL_CONNECT)
        branch_finish_of(vm, peer);
    else
        branch_finish(vm);
    struct control_reply reply = {.header = {CONTROL_MAGIC, CONTROL_REPLY}};
    if (serve_request(peer, &message, length, fds, fd_count, &reply) == 1)
        return;
    for (uint32_t i = 0; i < fd_count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    peers_reply(peer, &reply);
}

/* Somebody attaches to a detached VM. */
void peers_on_listener(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm *vm = container_of(watch, struct vm, listener_watch);
    int fd = listener_accept(watch->fd);
    if (fd < 0)
        return;
    struct vm_peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL || add_peer(vm, peer, fd, NULL) < 0) {
        free(peer);
        close(fd);
        return;
    }
    send_status(peer);
}
