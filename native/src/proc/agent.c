/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's agent: its hello, its child's identity, and the connections that the guest opens. */
#include "proc/vm_parts.h"

#include "base/broker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void exchange_close(struct vm *vm)
{
    int fd = vm->exchange.watch.fd;
    loop_remove(&vm->machine.loop, &vm->exchange.watch);
    close(fd);
}

/* 1: complete; 0: more to come; -1: broken off, and closed. */
static int exchange_read(struct vm *vm)
{
    struct exchange *exchange = &vm->exchange;
    ssize_t got = recv(exchange->watch.fd, exchange->data.bytes + exchange->received,
                       exchange->expected - exchange->received, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0) {
        exchange_close(vm);
        return -1;
    }
    exchange->received += (size_t)got;
    return exchange->received == exchange->expected ? 1 : 0;
}

static void on_hello(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm *vm = container_of(watch, struct vm, exchange.watch);
    int state = exchange_read(vm);
    if (state <= 0)
        return; /* an agent that broke off may try again */
    exchange_close(vm);
    struct guest_hello *hello = &vm->exchange.data.hello;
    hello->message[sizeof hello->message - 1] = '\0';
    if (hello->magic != GUEST_HELLO_MAGIC || hello->version != GUEST_PROTOCOL_VERSION || hello->status != 0) {
        struct forkd_error error;
        bool ours = hello->magic == GUEST_HELLO_MAGIC && hello->version == GUEST_PROTOCOL_VERSION;
        error_set(&error, ours && hello->status < 4096 ? (int)hello->status : EPROTO, "start", "guest agent",
                  "%s", ours ? hello->message : "it speaks another version of the protocol");
        vm_fail(vm, &error);
        return;
    }
    if (vm->status.phase == FORKD_VM_STARTING)
        vm_become_ready(vm);
}

static void on_identity_ack(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vm *vm = container_of(watch, struct vm, exchange.watch);
    int state = exchange_read(vm);
    if (state == 0)
        return;
    struct forkd_error error;
    if (state < 0) {
        error_set(&error, EPIPE, "set identity", "guest agent", "it closed the connection without an answer");
        vm_fail(vm, &error);
        return;
    }
    exchange_close(vm);
    struct guest_identity_ack *ack = &vm->exchange.data.ack;
    ack->message[sizeof ack->message - 1] = '\0';
    if (ack->magic != GUEST_IDENTITY_MAGIC || ack->generation != vm->machine.config.generation ||
        ack->status != 0) {
        error_set(&error, ack->status != 0 && ack->status < 4096 ? (int)ack->status : EPROTO, "set identity",
                  "guest agent", "%s", ack->message);
        vm_fail(vm, &error);
        return;
    }
    vm_become_ready(vm);
}

/* Our end of a new stream to the agent is watched; the other end is returned for the vsock device. */
static int exchange_open(struct vm *vm, size_t expected, void (*ready)(struct loop_watch *, uint32_t),
                         struct forkd_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return error_set(err, errno, "socketpair", "guest agent", NULL);
    vm->exchange.expected = expected;
    vm->exchange.received = 0;
    vm->exchange.watch.ready = ready;
    int result = loop_add(&vm->machine.loop, &vm->exchange.watch, pair[0], EPOLLIN, err);
    if (result < 0) {
        close(pair[0]);
        close(pair[1]);
        return result;
    }
    return pair[1];
}

/* Guest-initiated connections: our own port, and for all others the Unix socket "<vsock path>_<port>". */
int agent_accept(struct vsock_host *host, uint32_t port)
{
    struct vm *vm = container_of(host, struct vm, vsock_host);
    if (port == GUEST_PORT_HELLO) {
        if (vm->started_us != 0 || vm->exchange.watch.fd >= 0)
            return -ECONNREFUSED;
        return exchange_open(vm, sizeof(struct guest_hello), on_hello, NULL);
    }
    char name[CONTROL_PATH_SIZE];
    int length = snprintf(name, sizeof name, "%s_%u", vm_vsock_name(vm), port);
    if (vm->vsock_directory < 0 || length >= (int)sizeof name)
        return -ECONNREFUSED;
    return broker_connect(vm->vsock_directory, name);
}

int agent_start_identity(struct vm *vm, const char *hostname, struct forkd_error *err)
{
    struct guest_identity identity = {.magic = GUEST_IDENTITY_MAGIC,
                                      .version = GUEST_PROTOCOL_VERSION,
                                      .generation = vm->machine.config.generation};
    if (getrandom(identity.seed, sizeof identity.seed, 0) != sizeof identity.seed ||
        getrandom(identity.machine_id, sizeof identity.machine_id, 0) != sizeof identity.machine_id)
        return error_set(err, errno, "getrandom", "identity", NULL);
    memcpy(identity.hostname, hostname, sizeof identity.hostname);
    identity.hostname[sizeof identity.hostname - 1] = '\0';
    struct timespec now;
    int result = vcpu_get_tsc(&vm->machine.vcpus[0], &identity.tsc, err);
    if (result < 0)
        return result;
    identity.tsc_khz = vm->machine.state->vcpus[0].tsc_khz;
    clock_gettime(CLOCK_REALTIME, &now);
    identity.realtime_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    int stream = exchange_open(vm, sizeof(struct guest_identity_ack), on_identity_ack, err);
    if (stream < 0)
        return stream;
    /* It fits into the socket's buffer. */
    if (send(vm->exchange.watch.fd, &identity, sizeof identity, MSG_NOSIGNAL) != sizeof identity) {
        result = error_set(err, errno, "send", "identity", NULL);
        close(stream);
        return result;
    }
    return vsock_connect(vm->machine.vsock, stream, GUEST_PORT_IDENTITY, err);
}
