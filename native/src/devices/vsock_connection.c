/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection is, and what it does next. */
#include "devices/vsock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* Tell the guest of this much freed credit without being asked. */
#define VSOCK_CREDIT_STEP (VSOCK_BUFFER_BYTES / 4)

/* Ports of the host's side of connections that it opens: VSOCK_FIRST_PORT + (0 .. VSOCK_PORT_MASK). */
#define VSOCK_FIRST_PORT 0x40000000u
#define VSOCK_PORT_MASK 0x3fffffffu

/* --- pool, table, turn order --- */

static struct connection **bucket(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
    /* Knuth's multiplier spreads ports that are counted up; both ports are the guest's choice, and the worst
     * it gets for colliding ones is a list of VSOCK_MAX_CONNECTIONS. */
    uint32_t hash = (guest_port * 2654435761u) ^ (host_port * 2246822519u);
    return &vsock->buckets[hash >> 22];
}

struct connection *vsock_lookup(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
    struct connection *at = *bucket(vsock, guest_port, host_port);
    while (at != NULL && (at->guest_port != guest_port || at->host_port != host_port))
        at = at->bucket_next;
    return at;
}

void connection_hash(struct connection *c)
{
    struct connection **head = bucket(c->vsock, c->guest_port, c->host_port);
    c->bucket_next = *head;
    *head = c;
    c->hashed = true;
    c->vsock->known++;
}

void connection_unhash(struct connection *c)
{
    if (!c->hashed)
        return;
    struct connection **at = bucket(c->vsock, c->guest_port, c->host_port);
    while (*at != c)
        at = &(*at)->bucket_next;
    *at = c->bucket_next;
    c->hashed = false;
    c->vsock->known--;
}

void connection_enqueue(struct connection *c)
{
    struct vsock *vsock = c->vsock;
    if (c->queued)
        return;
    c->queued = true;
    c->next = NULL;
    c->previous = vsock->last;
    if (vsock->last != NULL)
        vsock->last->next = c;
    else
        vsock->first = c;
    vsock->last = c;
}

void connection_dequeue(struct connection *c)
{
    struct vsock *vsock = c->vsock;
    if (!c->queued)
        return;
    c->queued = false;
    if (vsock->settled == c)
        vsock->settled = c->previous;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        vsock->first = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    else
        vsock->last = c->previous;
}

static bool take_buffer(struct connection *c)
{
    struct vsock *vsock = c->vsock;
    c->buffer_start = 0;
    if (vsock->spare != NULL) {
        c->buffer = vsock->spare;
        vsock->spare = NULL;
        return true;
    }
    if (vsock->buffers == vsock->buffers_most)
        return false;
    void *buffer = mmap(NULL, VSOCK_BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return false;
    vsock->buffers++;
    c->buffer = buffer;
    return true;
}

static void release_buffer(struct connection *c)
{
    struct vsock *vsock = c->vsock;
    c->buffered = 0;
    if (c->buffer == NULL)
        return;
    if (vsock->spare == NULL) {
        vsock->spare = c->buffer;
    } else {
        munmap(c->buffer, VSOCK_BUFFER_BYTES);
        vsock->buffers--;
    }
    c->buffer = NULL;
}

static void close_socket(struct connection *c)
{
    if (c->fd < 0)
        return;
    loop_remove(c->vsock->device.machine->loop, &c->watch);
    /* Closing a Unix socket with unread bytes in it shows on the other side as ECONNRESET, possibly before
     * the reply that it should read. So take the bytes out; shut down, it can not get more of them. */
    char discarded[4096];
    shutdown(c->fd, SHUT_RDWR);
    while (recv(c->fd, discarded, sizeof discarded, MSG_DONTWAIT) > 0) {
    }
    close(c->fd);
    c->fd = -1;
}

void connection_free(struct connection *c)
{
    struct vsock *vsock = c->vsock;
    connection_unhash(c);
    connection_dequeue(c);
    release_buffer(c);
    close_socket(c);
    c->state = CONNECTION_FREE;
    c->next = vsock->free;
    vsock->free = c;
    vsock_listener_continue(vsock);
}

struct connection *connection_new(struct vsock *vsock, int fd, enum connection_origin origin)
{
    static const enum connection_state first_states[] = {
        [FROM_GUEST] = CONNECTION_OPEN, [FROM_DESCRIPTOR] = CONNECTION_HELD, [FROM_CLIENT] = CONNECTION_LINE};
    if (vsock->pool == NULL) {
        void *pool = mmap(NULL, VSOCK_MAX_CONNECTIONS * sizeof *vsock->pool, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pool == MAP_FAILED)
            return NULL;
        vsock->pool = pool;
    }
    struct connection *c = vsock->free;
    if (c == NULL && vsock->pool_used == vsock->connections_most)
        return NULL;
    struct connection *rest = c == NULL ? NULL : c->next;
    if (c == NULL)
        c = &vsock->pool[vsock->pool_used];
    *c = (struct connection){.watch = {.fd = -1, .ready = connection_ready}, .vsock = vsock, .fd = fd};
    uint32_t events = origin == FROM_CLIENT ? EPOLLIN : 0;
    if (loop_add(vsock->device.machine->loop, &c->watch, fd, events, NULL) < 0) {
        c->next = rest; /* as it was: a free one stays at the head of the list */
        return NULL;
    }
    if (c == vsock->free)
        vsock->free = rest;
    else
        vsock->pool_used++;
    c->state = first_states[origin];
    c->origin = origin;
    return c;
}

void vsock_drop_all(struct vsock *vsock)
{
    for (uint32_t i = 0; i < vsock->pool_used; i++) {
        if (vsock->pool[i].state != CONNECTION_FREE)
            connection_free(&vsock->pool[i]);
    }
    vsock->reset_count = 0;
}

void vsock_fail(struct vsock *vsock)
{
    virtio_fail(&vsock->device);
    vsock_drop_all(vsock);
}

/* --- what it does next --- */

uint32_t connection_credit(const struct connection *c)
{
    uint32_t in_flight = c->sent - c->peer_forwarded;
    return in_flight < c->peer_buffer ? c->peer_buffer - in_flight : 0;
}

bool connection_wants_data(const struct connection *c)
{
    return c->state == CONNECTION_OPEN && c->input != INPUT_ENDED &&
           !(c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) && connection_credit(c) > 0;
}

bool connection_host_is_gone(const struct connection *c)
{
    return c->output == OUTPUT_GONE || c->output == OUTPUT_LOST;
}

void connection_lose_host(struct connection *c)
{
    if (c->output != OUTPUT_LOST)
        c->output = c->buffered > 0 ? OUTPUT_LOST : OUTPUT_GONE;
    c->forwarded += c->buffered;
    release_buffer(c);
}

void connection_update_watch(struct connection *c)
{
    struct loop *loop = c->vsock->device.machine->loop;
    uint32_t events = 0;
    if (c->fd < 0)
        return;
    if (c->state == CONNECTION_LINE || (connection_wants_data(c) && c->input == INPUT_NONE))
        events |= EPOLLIN;
    if (c->buffered > 0)
        events |= EPOLLOUT;
    /* A hang-up is reported whether asked for or not, and without end. */
    if (events == 0 && connection_host_is_gone(c)) {
        loop_remove(loop, &c->watch);
    } else if (c->watch.fd >= 0) {
        loop_modify(loop, &c->watch, events);
    } else if (loop_add(loop, &c->watch, c->fd, events, NULL) < 0) {
        /* Out of memory: the socket can no longer be followed. */
        c->input = INPUT_ENDED;
        connection_lose_host(c);
        connection_enqueue(c);
    }
}

void connection_begin_close(struct connection *c, bool reset)
{
    c->state = CONNECTION_CLOSING;
    c->control = reset ? SEND_RESET : 0;
    if (c->input == INPUT_READY)
        c->input = INPUT_NONE;
    if (!reset)
        connection_unhash(c);
}

uint8_t connection_host_shutdown(const struct connection *c)
{
    uint8_t ended = c->input == INPUT_ENDED ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0;
    bool tell_gone = c->output == OUTPUT_LOST || (c->output == OUTPUT_GONE && ended != 0);
    return ended | (tell_gone ? VIRTIO_VSOCK_SHUTDOWN_RCV : 0);
}

/* An open connection: what follows from how far the two sides are. */
static void settle_open(struct connection *c)
{
    if (connection_host_shutdown(c) & ~c->told_shutdown)
        c->control |= SEND_SHUTDOWN;
    if (c->forwarded - c->told_forwarded >= VSOCK_CREDIT_STEP)
        c->control |= SEND_CREDIT_UPDATE;
    if ((c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) && c->buffered == 0 && c->output == OUTPUT_OPEN) {
        shutdown(c->fd, SHUT_WR);
        c->output = OUTPUT_SHUT;
    }
    bool guest_done = (c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) || connection_host_is_gone(c);
    bool host_done =
        (c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) || (c->told_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND);
    /* virtio 1.2, 5.10.6.5: a reset ends what was shut down in both directions. It is behind all our data,
     * and Linux keeps what its program has not read yet. */
    if (guest_done && host_done)
        connection_begin_close(c, true);
}

void connection_settle(struct connection *c)
{
    if (c->state == CONNECTION_OPEN)
        settle_open(c);
    if (c->state == CONNECTION_CLOSING && c->buffered == 0) {
        close_socket(c);
        if (c->control == 0) {
            connection_free(c);
            return;
        }
    }
    /* Until its turn its watch stays as it is; most often that leaves it so. If that is not soon, deliver
     * sees to it. */
    if (!c->queued && (c->control != 0 || (c->input == INPUT_READY && connection_wants_data(c))))
        connection_enqueue(c);
    else
        connection_update_watch(c);
}

void connection_flush(struct connection *c)
{
    while (c->buffered > 0) {
        uint32_t to_end = VSOCK_BUFFER_BYTES - c->buffer_start;
        struct iovec iov[2] = {
            {c->buffer + c->buffer_start, c->buffered < to_end ? c->buffered : to_end},
            {c->buffer, c->buffered < to_end ? 0 : c->buffered - to_end},
        };
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
        ssize_t count = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            if (errno != EAGAIN)
                connection_lose_host(c);
            return;
        }
        c->buffer_start = (c->buffer_start + (uint32_t)count) % VSOCK_BUFFER_BYTES;
        c->buffered -= (uint32_t)count;
        c->forwarded += (uint32_t)count;
    }
    release_buffer(c);
}

bool connection_keep(struct connection *c, const struct virtqueue_chain *chain, uint32_t from,
                     uint32_t length)
{
    if (c->buffer == NULL && !take_buffer(c))
        return false;
    while (from < length) {
        uint32_t end = (c->buffer_start + c->buffered) % VSOCK_BUFFER_BYTES;
        uint32_t part = length - from;
        if (part > VSOCK_BUFFER_BYTES - end)
            part = VSOCK_BUFFER_BYTES - end;
        virtqueue_read(chain, from, c->buffer + end, part);
        c->buffered += part;
        from += part;
    }
    return true;
}

static uint32_t draw_port(struct vsock *vsock, uint32_t guest_port)
{
    /* Drawn in this process and at random: a guest forked from the same snapshot as another may remember
     * connections, and a counter would meet them again. */
    if (vsock->next_port == 0 && getrandom(&vsock->next_port, sizeof vsock->next_port, 0) < 0)
        vsock->next_port = (uint32_t)getpid() << 12;
    uint32_t port;
    do {
        port = VSOCK_FIRST_PORT + (vsock->next_port++ & VSOCK_PORT_MASK);
        if (vsock->next_port == 0)
            vsock->next_port = 1;
    } while (vsock_lookup(vsock, guest_port, port) != NULL);
    return port;
}

void connection_request(struct connection *c)
{
    c->host_port = draw_port(c->vsock, c->guest_port);
    c->state = CONNECTION_REQUESTED;
    c->control = SEND_REQUEST;
    connection_hash(c);
}
