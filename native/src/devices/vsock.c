/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets between host and guest: the way to the agent. Each connection joins one Unix stream socket with one
 * (guest port, host port) pair.
 *
 * Guest to host, a packet's payload goes from its descriptors straight into the socket; what the socket does
 * not take waits in the connection's ring buffer, which the credit we give bounds. Host to guest, bytes are
 * read from the socket straight into the driver's buffers, when there are buffers and the guest gave credit.
 * Nothing is queued in that direction: what a connection still has to say is a set of flags (struct
 * connection.control), and connections that have something to say take turns (struct vsock.first).
 *
 * A connection's memory is in a pool that stays until the device is closed, because the loop may call a watch
 * that was removed, or given to another socket, a moment ago (loop_once). So no callback trusts its events:
 * readiness is tried out with calls that do not block.
 */
#include "devices/devices.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* virtio 1.2, 5.10.2 */
#define VSOCK_RX 0u
#define VSOCK_TX 1u
#define VSOCK_EVENT 2u
#define VSOCK_QUEUE_SIZE VIRTQUEUE_MAX_SIZE

/* virtio 1.2, 5.10.6.3: the credit that we give, which is also what we may have to keep for a connection. */
#define VSOCK_BUFFER_BYTES (256u * 1024)
/* Tell the guest of this much freed credit without being asked. */
#define VSOCK_CREDIT_STEP (VSOCK_BUFFER_BYTES / 4)

#define VSOCK_MAX_CONNECTIONS 1023u
#define VSOCK_BUCKETS 1024u
/* Resets for ports that have no connection; beyond that the guest has to time out. */
#define VSOCK_MAX_RESETS 64u
/* Buffers of the driver that one read fills, for a connection that filled one. */
#define VSOCK_BURST 16u
/* Packets of one direction before others get their turn on the loop and the lock. */
#define VSOCK_BUDGET 256u
/* Connections taken from the listener before others get their turn. */
#define VSOCK_ACCEPT_BUDGET 16u

/* Ports of the host's side of connections that it opens: VSOCK_FIRST_PORT + (0 .. VSOCK_PORT_MASK). */
#define VSOCK_FIRST_PORT 0x40000000u
#define VSOCK_PORT_MASK 0x3fffffffu

/* "CONNECT 4294967295\n" is the longest. */
#define VSOCK_LINE_BYTES 20u

#define HEADER_BYTES ((uint32_t)sizeof(struct virtio_vsock_hdr))
_Static_assert(sizeof(struct virtio_vsock_hdr) == 44, "virtio 1.2, 5.10.6");

enum connection_state {
    CONNECTION_FREE = 0,
    CONNECTION_LINE,      /* a client of the listener that has yet to say which port */
    CONNECTION_HELD,      /* waits until the guest has forgotten the connections of before the restore */
    CONNECTION_REQUESTED, /* the guest has yet to answer */
    CONNECTION_OPEN,
    CONNECTION_CLOSING, /* the guest is done with it, or will be with a reset; the host gets what is left */
};

/* Who asked for a connection. */
enum connection_origin {
    FROM_GUEST,
    FROM_DESCRIPTOR, /* vsock_connect */
    FROM_CLIENT,     /* of the listener: it waits for "OK <port>" */
};

/* What there is to read from the socket. */
enum host_input {
    INPUT_NONE = 0, /* nothing that we know of */
    INPUT_READY,    /* it may have bytes */
    INPUT_ENDED,
};

/* What becomes of what is written to the socket. */
enum host_output {
    OUTPUT_OPEN = 0,
    OUTPUT_SHUT, /* the guest was done, and we have shut it down for writing */
    OUTPUT_GONE, /* nobody reads it any more */
    OUTPUT_LOST, /* and bytes of the guest's were thrown away because of that */
};

/* Packets that a connection has to send: bits of connection.control, most urgent first. */
enum {
    SEND_REQUEST = 1u << 0,
    SEND_RESPONSE = 1u << 1,
    SEND_SHUTDOWN = 1u << 2,
    SEND_RESET = 1u << 3,
    SEND_CREDIT_REQUEST = 1u << 4,
    SEND_CREDIT_UPDATE = 1u << 5,
};

struct connection {
    struct loop_watch watch;
    struct vsock *vsock;
    struct connection *next; /* in the turn order, or in the list of free ones */
    struct connection *previous;
    struct connection *bucket_next;
    int fd; /* -1: closed already */
    enum connection_state state;
    enum connection_origin origin;
    enum host_input input;
    enum host_output output;
    uint32_t guest_port;
    uint32_t host_port;
    uint8_t control;         /* SEND_* */
    uint8_t guest_shutdown;  /* VIRTIO_VSOCK_SHUTDOWN_*: what the guest will no longer do */
    uint8_t told_shutdown;   /* the same of the host, as far as the guest was told */
    bool queued;             /* waits for its turn */
    bool hashed;             /* can be found by its ports */
    bool burst;              /* the last read filled all it was given */
    uint32_t sent;           /* payload bytes to the guest; free-running, as are the next three */
    uint32_t peer_forwarded; /* of these, what the guest says it has consumed */
    uint32_t forwarded;      /* bytes of the guest's that went to the socket */
    uint32_t told_forwarded; /* of these, what the guest knows of */
    uint32_t peer_buffer;    /* the guest's buf_alloc */
    uint8_t *buffer;         /* VSOCK_BUFFER_BYTES, a ring; NULL while nothing waits */
    uint32_t buffer_start;
    uint32_t buffered;
    uint8_t line_length;
    char line[VSOCK_LINE_BYTES];
};

/* A reset to send where there is no connection. */
struct pending_reset {
    uint32_t guest_port;
    uint32_t host_port;
    uint16_t type;
};

struct vsock {
    struct virtio_device device;
    struct vsock_host *host;
    struct loop_watch listener; /* of listener_fd, by its edges while nothing can be accepted */
    int listener_fd;
    bool event_due;          /* TRANSPORT_RESET has yet to go to the guest */
    bool hold;               /* no new connections before the guest has handled it */
    uint16_t event_left;     /* event buffers that were left when it went out */
    uint32_t next_port;      /* 0: not drawn yet */
    uint32_t known;          /* connections that the guest may know of (hashed) */
    uint32_t pool_used;      /* pool entries that were ever used */
    struct connection *pool; /* NULL before the first connection: an idle VM has none */
    struct connection *free;
    struct connection *first; /* turn order */
    struct connection *last;
    uint8_t *spare; /* one ring buffer kept for the next that needs one */
    uint32_t reset_start;
    uint32_t reset_count;
    struct pending_reset resets[VSOCK_MAX_RESETS];
    struct connection *buckets[VSOCK_BUCKETS];
};

/* --- Connections: pool, table, turn order --- */

static struct connection **bucket(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
    /* Knuth's multiplier spreads ports that are counted up; both ports are the guest's choice, and the worst
     * it gets for colliding ones is a list of VSOCK_MAX_CONNECTIONS. */
    uint32_t hash = (guest_port * 2654435761u) ^ (host_port * 2246822519u);
    return &vsock->buckets[hash >> 22];
}

static struct connection *lookup(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
    struct connection *at = *bucket(vsock, guest_port, host_port);
    while (at != NULL && (at->guest_port != guest_port || at->host_port != host_port))
        at = at->bucket_next;
    return at;
}

static void hash(struct connection *c)
{
    struct connection **head = bucket(c->vsock, c->guest_port, c->host_port);
    c->bucket_next = *head;
    *head = c;
    c->hashed = true;
    c->vsock->known++;
}

static void unhash(struct connection *c)
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

static void enqueue(struct connection *c)
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

static void dequeue(struct connection *c)
{
    struct vsock *vsock = c->vsock;
    if (!c->queued)
        return;
    c->queued = false;
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
    void *buffer = mmap(NULL, VSOCK_BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    c->buffer = buffer == MAP_FAILED ? NULL : buffer;
    return c->buffer != NULL;
}

static void release_buffer(struct connection *c)
{
    struct vsock *vsock = c->vsock;
    c->buffered = 0;
    if (c->buffer == NULL)
        return;
    if (vsock->spare == NULL)
        vsock->spare = c->buffer;
    else
        munmap(c->buffer, VSOCK_BUFFER_BYTES);
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

static void listener_continue(struct vsock *vsock)
{
    if (vsock->listener_fd >= 0)
        loop_modify(vsock->device.machine->loop, &vsock->listener, EPOLLIN);
}

static void connection_free(struct connection *c)
{
    struct vsock *vsock = c->vsock;
    unhash(c);
    dequeue(c);
    release_buffer(c);
    close_socket(c);
    c->state = CONNECTION_FREE;
    c->next = vsock->free;
    vsock->free = c;
    listener_continue(vsock);
}

static void connection_ready(struct loop_watch *watch, uint32_t events);

/* A connection over `fd`, which becomes its own; NULL (and fd still the caller's) when there is no room. */
static struct connection *connection_new(struct vsock *vsock, int fd, enum connection_origin origin)
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
    if (c == NULL && vsock->pool_used == VSOCK_MAX_CONNECTIONS)
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

static void drop_all(struct vsock *vsock)
{
    for (uint32_t i = 0; i < vsock->pool_used; i++) {
        if (vsock->pool[i].state != CONNECTION_FREE)
            connection_free(&vsock->pool[i]);
    }
    vsock->reset_count = 0;
}

/* The driver broke the rules of its queues. Host clients see the end of their connections. */
static void fail(struct vsock *vsock)
{
    virtio_fail(&vsock->device);
    drop_all(vsock);
}

/* --- What a connection does next --- */

/* virtio 1.2, 5.10.6.3. The peer's numbers may be lies: all they bring it is our bytes in its own buffers. */
static uint32_t credit(const struct connection *c)
{
    uint32_t in_flight = c->sent - c->peer_forwarded;
    return in_flight < c->peer_buffer ? c->peer_buffer - in_flight : 0;
}

static bool wants_data(const struct connection *c)
{
    return c->state == CONNECTION_OPEN && c->input != INPUT_ENDED &&
           !(c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) && credit(c) > 0;
}

static bool is_gone(const struct connection *c)
{
    return c->output == OUTPUT_GONE || c->output == OUTPUT_LOST;
}

/* Nothing can be written to the socket any more: what waits for it is as good as delivered. */
static void host_gone(struct connection *c)
{
    if (c->output != OUTPUT_LOST)
        c->output = c->buffered > 0 ? OUTPUT_LOST : OUTPUT_GONE;
    c->forwarded += c->buffered;
    release_buffer(c);
}

/* Watch the socket for what the connection can use now. */
static void update_watch(struct connection *c)
{
    struct loop *loop = c->vsock->device.machine->loop;
    uint32_t events = 0;
    if (c->fd < 0)
        return;
    if (c->state == CONNECTION_LINE || (wants_data(c) && c->input == INPUT_NONE))
        events |= EPOLLIN;
    if (c->buffered > 0)
        events |= EPOLLOUT;
    /* A hang-up is reported whether asked for or not, and without end. */
    if (events == 0 && is_gone(c)) {
        loop_remove(loop, &c->watch);
    } else if (c->watch.fd >= 0) {
        loop_modify(loop, &c->watch, events);
    } else if (loop_add(loop, &c->watch, c->fd, events, NULL) < 0) {
        /* Out of memory: the socket can no longer be followed. */
        c->input = INPUT_ENDED;
        host_gone(c);
        enqueue(c);
    }
}

static void begin_close(struct connection *c, bool reset)
{
    c->state = CONNECTION_CLOSING;
    c->control = reset ? SEND_RESET : 0;
    if (c->input == INPUT_READY)
        c->input = INPUT_NONE;
    if (!reset)
        unhash(c);
}

/* What the guest should know. That nobody reads its bytes can wait for the end of ours, so that it gets a
 * client's last words before it learns that the client has left; unless it writes. */
static uint8_t host_shutdown(const struct connection *c)
{
    uint8_t ended = c->input == INPUT_ENDED ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0;
    bool tell_gone = c->output == OUTPUT_LOST || (c->output == OUTPUT_GONE && ended != 0);
    return ended | (tell_gone ? VIRTIO_VSOCK_SHUTDOWN_RCV : 0);
}

/* An open connection: what follows from how far the two sides are. */
static void settle_open(struct connection *c)
{
    if (host_shutdown(c) & ~c->told_shutdown)
        c->control |= SEND_SHUTDOWN;
    if (c->forwarded - c->told_forwarded >= VSOCK_CREDIT_STEP)
        c->control |= SEND_CREDIT_UPDATE;
    if ((c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) && c->buffered == 0 && c->output == OUTPUT_OPEN) {
        shutdown(c->fd, SHUT_WR);
        c->output = OUTPUT_SHUT;
    }
    bool guest_done = (c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) || is_gone(c);
    bool host_done =
        (c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV) || (c->told_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND);
    /* virtio 1.2, 5.10.6.5: a reset ends what was shut down in both directions. It is behind all our data,
     * and Linux keeps what its program has not read yet. */
    if (guest_done && host_done)
        begin_close(c, true);
}

/* Bring everything about a connection in line after something happened to it. May free it. */
static void settle(struct connection *c)
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
    /* While it is in the turn order its watch stays as it is; most often its turn leaves it so. */
    if (c->control != 0 || (c->input == INPUT_READY && wants_data(c)))
        enqueue(c);
    else
        update_watch(c);
}

/* Write what waits for the socket. */
static void flush(struct connection *c)
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
                host_gone(c);
            return;
        }
        c->buffer_start = (c->buffer_start + (uint32_t)count) % VSOCK_BUFFER_BYTES;
        c->buffered -= (uint32_t)count;
        c->forwarded += (uint32_t)count;
    }
    release_buffer(c);
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
    } while (lookup(vsock, guest_port, port) != NULL);
    return port;
}

static void request(struct connection *c)
{
    c->host_port = draw_port(c->vsock, c->guest_port);
    c->state = CONNECTION_REQUESTED;
    c->control = SEND_REQUEST;
    hash(c);
}

static void request_or_hold(struct connection *c, uint32_t port)
{
    const struct vsock *vsock = c->vsock;
    c->guest_port = port;
    if (vsock->host != NULL && vsock->host->opening != NULL)
        vsock->host->opening(vsock->host);
    if (vsock->hold)
        c->state = CONNECTION_HELD;
    else
        request(c);
}

/* --- To the guest --- */

static struct virtio_vsock_hdr header_for(struct connection *c, uint16_t op, uint32_t flags, uint32_t length)
{
    c->control &= (uint8_t)~SEND_CREDIT_UPDATE; /* every header carries it */
    c->told_forwarded = c->forwarded;
    return (struct virtio_vsock_hdr){
        .src_cid = VSOCK_HOST_CID,
        .dst_cid = VSOCK_GUEST_CID,
        .src_port = c->host_port,
        .dst_port = c->guest_port,
        .len = length,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .flags = flags,
        .buf_alloc = VSOCK_BUFFER_BYTES,
        .fwd_cnt = c->forwarded,
    };
}

/* Is it a buffer for packets? virtio 1.2, 5.10.6.1: writable, and with room for more than a header, or data
 * could never be sent. */
static bool rx_buffer_valid(const struct virtqueue_chain *chain)
{
    return chain->readable_count == 0 && chain->writable_bytes > HEADER_BYTES;
}

/* Send a packet that is only a header. 0, or -EPROTO when the driver broke the rules. */
static int send_header(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    struct virtqueue *queue = &vsock->device.queues[VSOCK_RX];
    struct virtqueue_chain chain;
    if (virtqueue_pop(queue, &chain) <= 0 || !rx_buffer_valid(&chain))
        return -EPROTO;
    virtqueue_write(&chain, 0, header, sizeof *header);
    virtqueue_push(queue, chain.head, HEADER_BYTES);
    return 0;
}

static int send_pending_reset(struct vsock *vsock)
{
    const struct pending_reset *reset = &vsock->resets[vsock->reset_start];
    struct virtio_vsock_hdr header = {
        .src_cid = VSOCK_HOST_CID,
        .dst_cid = VSOCK_GUEST_CID,
        .src_port = reset->host_port,
        .dst_port = reset->guest_port,
        .type = reset->type,
        .op = VIRTIO_VSOCK_OP_RST,
    };
    vsock->reset_start = (vsock->reset_start + 1) % VSOCK_MAX_RESETS;
    vsock->reset_count--;
    return send_header(vsock, &header);
}

/* Send the most urgent of what the connection's flags say. */
static int send_control(struct connection *c)
{
    uint16_t op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    uint32_t flags = 0;
    uint8_t sent = SEND_CREDIT_UPDATE;
    if (c->control & SEND_REQUEST) {
        op = VIRTIO_VSOCK_OP_REQUEST;
        sent = SEND_REQUEST;
    } else if (c->control & SEND_RESPONSE) {
        op = VIRTIO_VSOCK_OP_RESPONSE;
        sent = SEND_RESPONSE;
    } else if (c->control & SEND_SHUTDOWN) {
        op = VIRTIO_VSOCK_OP_SHUTDOWN;
        sent = SEND_SHUTDOWN;
        c->told_shutdown = host_shutdown(c);
        flags = c->told_shutdown;
    } else if (c->control & SEND_RESET) {
        op = VIRTIO_VSOCK_OP_RST;
        sent = SEND_RESET;
        unhash(c);
    } else if (c->control & SEND_CREDIT_REQUEST) {
        op = VIRTIO_VSOCK_OP_CREDIT_REQUEST;
        sent = SEND_CREDIT_REQUEST;
    }
    c->control &= (uint8_t)~sent;
    struct virtio_vsock_hdr header = header_for(c, op, flags, 0);
    return send_header(c->vsock, &header);
}

/* Buffers of the driver that one read is going to fill. */
struct burst {
    uint32_t count;
    uint32_t iov_count;
    uint32_t space; /* for payload, within the credit */
    struct {
        uint16_t head;
        uint8_t *header; /* NULL: spread over several buffers, and `split` has it */
        uint32_t space;
    } packets[VSOCK_BURST];
    struct virtqueue_chain split;
    struct iovec iov[VIRTQUEUE_MAX_SIZE]; /* payload */
};

/* Add a chain's payload to the burst, at most `limit` bytes of it. */
static void burst_add(struct burst *burst, const struct virtqueue_chain *chain, uint32_t limit)
{
    uint32_t skip = HEADER_BYTES;
    uint32_t space = 0;
    for (uint16_t i = 0; i < chain->writable_count && space < limit; i++) {
        struct iovec part = chain->iov[i];
        if (part.iov_len <= skip) {
            skip -= (uint32_t)part.iov_len;
            continue;
        }
        part.iov_base = (uint8_t *)part.iov_base + skip;
        part.iov_len -= skip;
        skip = 0;
        if (part.iov_len > limit - space)
            part.iov_len = limit - space;
        space += (uint32_t)part.iov_len;
        burst->iov[burst->iov_count++] = part;
    }
    bool whole = chain->iov[0].iov_len >= HEADER_BYTES;
    burst->packets[burst->count].head = chain->head;
    burst->packets[burst->count].header = whole ? chain->iov[0].iov_base : NULL;
    burst->packets[burst->count].space = space;
    burst->count++;
    burst->space += space;
}

/* Take at most `most` buffers from the driver. 0, or -EPROTO. */
static int burst_collect(struct vsock *vsock, struct burst *burst, uint32_t most, uint32_t limit)
{
    struct virtqueue *queue = &vsock->device.queues[VSOCK_RX];
    struct virtqueue_chain *chain = &burst->split;
    burst->count = 0;
    burst->iov_count = 0;
    burst->space = 0;
    while (burst->count < most && burst->space < limit) {
        int result = virtqueue_pop(queue, chain);
        if (result == 0)
            return 0;
        if (result < 0 || !rx_buffer_valid(chain))
            return -EPROTO;
        bool split = chain->iov[0].iov_len < HEADER_BYTES;
        if (burst->count > 0 && (split || burst->iov_count + chain->writable_count > VIRTQUEUE_MAX_SIZE)) {
            virtqueue_unpop(queue);
            return 0;
        }
        burst_add(burst, chain, limit - burst->space);
        if (split)
            return 0;
    }
    return 0;
}

/* Put headers before `bytes` of payload that were read, and give the driver its buffers back, the filled and
 * the unused ones. */
static void burst_finish(struct connection *c, struct burst *burst, uint32_t bytes)
{
    struct virtqueue *queue = &c->vsock->device.queues[VSOCK_RX];
    uint16_t filled = 0;
    while (bytes > 0) {
        uint32_t part = burst->packets[filled].space;
        if (part > bytes)
            part = bytes;
        struct virtio_vsock_hdr header = header_for(c, VIRTIO_VSOCK_OP_RW, 0, part);
        if (burst->packets[filled].header != NULL)
            memcpy(burst->packets[filled].header, &header, sizeof header);
        else
            virtqueue_write(&burst->split, 0, &header, sizeof header);
        virtqueue_stage(queue, filled, burst->packets[filled].head, HEADER_BYTES + part);
        bytes -= part;
        filled++;
    }
    if (filled > 0)
        virtqueue_publish(queue, filled);
    for (uint32_t i = filled; i < burst->count; i++)
        virtqueue_unpop(queue);
}

/* Read from the socket into the driver's buffers. 0, or -EPROTO when the driver broke the rules. */
static int send_data(struct connection *c)
{
    struct burst burst;
    int result = burst_collect(c->vsock, &burst, c->burst ? VSOCK_BURST : 1, credit(c));
    if (result < 0 || burst.count == 0)
        return result;
    struct msghdr message = {.msg_iov = burst.iov, .msg_iovlen = burst.iov_count};
    ssize_t count = recvmsg(c->fd, &message, MSG_DONTWAIT);
    burst_finish(c, &burst, count > 0 ? (uint32_t)count : 0);
    if (count > 0) {
        c->sent += (uint32_t)count;
        c->burst = (uint32_t)count == burst.space;
        /* A short read emptied the socket; if not, the loop says so again. */
        c->input = c->burst ? INPUT_READY : INPUT_NONE;
        if (credit(c) == 0)
            c->control |= SEND_CREDIT_REQUEST;
        return 0;
    }
    if (count < 0 && errno == EINTR)
        return 0;
    c->input = INPUT_NONE;
    c->burst = false;
    if (count < 0 && errno == EAGAIN)
        return 0;
    c->input = INPUT_ENDED;
    if (count < 0)
        host_gone(c);
    return 0;
}

/* Give connections their turns while the driver has buffers. */
static void deliver(struct vsock *vsock)
{
    struct virtqueue *queue = &vsock->device.queues[VSOCK_RX];
    uint32_t budget = VSOCK_BUDGET;
    while (virtio_active(&vsock->device) && (vsock->reset_count > 0 || vsock->first != NULL)) {
        if (virtqueue_available(queue) == 0 && !virtqueue_wait_kick(queue))
            break;
        if (budget-- == 0) {
            virtio_kick(&vsock->device, VSOCK_RX);
            break;
        }
        if (vsock->reset_count > 0) {
            if (send_pending_reset(vsock) < 0)
                fail(vsock);
            continue;
        }
        struct connection *c = vsock->first;
        dequeue(c);
        int result = 0;
        if (c->control != 0)
            result = send_control(c);
        else if (c->input == INPUT_READY && wants_data(c))
            result = send_data(c);
        if (result < 0)
            fail(vsock);
        else
            settle(c);
    }
    virtio_interrupt(&vsock->device, VSOCK_RX);
    /* Those that still wait do so for the driver, and need not hear of their sockets. */
    for (struct connection *c = vsock->first; c != NULL; c = c->next)
        update_watch(c);
}

/* --- From the guest --- */

static void reset_unknown(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    if (vsock->reset_count == VSOCK_MAX_RESETS)
        return;
    uint32_t slot = (vsock->reset_start + vsock->reset_count++) % VSOCK_MAX_RESETS;
    vsock->resets[slot] = (struct pending_reset){
        .guest_port = header->src_port, .host_port = header->dst_port, .type = header->type};
}

/* Cut a chain's readable part to `length` bytes behind the header, in place: parts outside get length 0. */
static void cut_to_payload(struct virtqueue_chain *chain, uint32_t length)
{
    size_t skip = HEADER_BYTES;
    size_t left = length;
    for (uint16_t i = 0; i < chain->readable_count; i++) {
        struct iovec *part = &chain->iov[i];
        size_t gone = part->iov_len < skip ? part->iov_len : skip;
        part->iov_base = (uint8_t *)part->iov_base + gone;
        part->iov_len -= gone;
        skip -= gone;
        if (part->iov_len > left)
            part->iov_len = left;
        left -= part->iov_len;
    }
}

/* Keep what the socket did not take: payload bytes [from, length). False: no memory. */
static bool keep(struct connection *c, const struct virtqueue_chain *chain, uint32_t from, uint32_t length)
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

/* Payload from the guest: to the socket, or into the buffer behind what waits there. */
static void forward(struct connection *c, struct virtqueue_chain *chain, uint32_t length)
{
    struct vsock_host *host = c->vsock->host;
    if (c->origin != FROM_GUEST && c->forwarded == 0 && c->buffered == 0 && host != NULL &&
        host->answered != NULL)
        host->answered(host);
    if (is_gone(c)) {
        if (length > 0)
            c->output = OUTPUT_LOST;
        c->forwarded += length;
        return;
    }
    if (length > VSOCK_BUFFER_BYTES - c->buffered) {
        begin_close(c, true); /* more than the credit it was given */
        return;
    }
    cut_to_payload(chain, length);
    uint32_t done = 0;
    if (c->buffered == 0 && length > 0) {
        struct msghdr message = {.msg_iov = chain->iov, .msg_iovlen = chain->readable_count};
        ssize_t count = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN && errno != EINTR) {
            c->output = OUTPUT_LOST;
            c->forwarded += length;
            host_gone(c);
            return;
        }
        if (count > 0)
            done = (uint32_t)count;
        c->forwarded += done;
    }
    if (done < length && !keep(c, chain, done, length))
        begin_close(c, true);
}

/* The guest accepted: now the client may know, and its bytes may flow. */
static void opened(struct connection *c)
{
    c->state = CONNECTION_OPEN;
    if (c->origin != FROM_CLIENT)
        return;
    char line[32];
    int length = snprintf(line, sizeof line, "OK %u\n", c->host_port);
    if (send(c->fd, line, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL) != length)
        host_gone(c);
}

/* The guest connects to a port of the host. */
static void guest_request(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    int fd = vsock->host == NULL ? -ECONNREFUSED : vsock->host->accept(vsock->host, header->dst_port);
    struct connection *c = fd < 0 ? NULL : connection_new(vsock, fd, FROM_GUEST);
    if (c == NULL) {
        if (fd >= 0)
            close(fd);
        reset_unknown(vsock, header);
        return;
    }
    c->guest_port = header->src_port;
    c->host_port = header->dst_port;
    c->peer_buffer = header->buf_alloc;
    c->peer_forwarded = header->fwd_cnt;
    c->control = SEND_RESPONSE;
    hash(c);
    settle(c);
}

static void guest_shutdown(struct connection *c, uint32_t flags)
{
    c->guest_shutdown |= flags & (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
    /* The client learns that nobody is going to read what it writes. */
    if (c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV)
        shutdown(c->fd, SHUT_RD);
}

/* A packet on an open connection, other than a reset. */
static void open_packet(struct connection *c, struct virtqueue_chain *chain,
                        const struct virtio_vsock_hdr *header)
{
    switch (header->op) {
    case VIRTIO_VSOCK_OP_RW:
        if (c->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND)
            begin_close(c, true);
        else
            forward(c, chain, header->len);
        break;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        guest_shutdown(c, header->flags);
        break;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        c->control |= SEND_CREDIT_UPDATE;
        break;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        break;
    default:
        begin_close(c, true);
        break;
    }
}

static void known_packet(struct connection *c, struct virtqueue_chain *chain,
                         const struct virtio_vsock_hdr *header)
{
    c->peer_buffer = header->buf_alloc;
    c->peer_forwarded = header->fwd_cnt;
    if (header->op == VIRTIO_VSOCK_OP_RST)
        begin_close(c, false);
    else if (c->state == CONNECTION_OPEN)
        open_packet(c, chain, header);
    else if (c->state == CONNECTION_REQUESTED && header->op == VIRTIO_VSOCK_OP_RESPONSE)
        opened(c);
    else if (c->state == CONNECTION_REQUESTED)
        begin_close(c, true);
    /* Closing: our reset is on its way already. */
    settle(c);
}

static bool guest_packet(struct virtio_device *device, struct virtqueue_chain *chain, uint32_t *written)
{
    (void)written;
    struct vsock *vsock = container_of(device, struct vsock, device);
    struct virtio_vsock_hdr header;
    /* Without addresses there is nobody to answer (virtio 1.2, 5.10.6.4.1 lets us drop it). */
    if (chain->readable_bytes < sizeof header)
        return true;
    virtqueue_read(chain, 0, &header, sizeof header);
    if (header.src_cid != VSOCK_GUEST_CID || header.dst_cid != VSOCK_HOST_CID)
        return true;
    struct connection *c = lookup(vsock, header.src_port, header.dst_port);
    bool valid = header.type == VIRTIO_VSOCK_TYPE_STREAM &&
                 header.len <= chain->readable_bytes - (uint32_t)sizeof header;
    if (!valid && c != NULL && header.type == VIRTIO_VSOCK_TYPE_STREAM) {
        begin_close(c, true);
        settle(c);
    } else if (valid && c != NULL) {
        known_packet(c, chain, &header);
    } else if (valid && header.op == VIRTIO_VSOCK_OP_REQUEST) {
        guest_request(vsock, &header);
    } else if (header.op != VIRTIO_VSOCK_OP_RST) {
        reset_unknown(vsock, &header);
    }
    return true;
}

/* --- After a restore --- */

/* The guest has dealt with TRANSPORT_RESET: connections may be opened. */
static void release_held(struct vsock *vsock)
{
    vsock->hold = false;
    for (uint32_t i = 0; i < vsock->pool_used; i++) {
        struct connection *c = &vsock->pool[i];
        if (c->state == CONNECTION_HELD) {
            request(c);
            settle(c);
        }
    }
}

/* virtio 1.2, 5.10.6.7: tell the driver that its connections are gone. */
static void send_transport_reset(struct vsock *vsock)
{
    struct virtqueue *queue = &vsock->device.queues[VSOCK_EVENT];
    const struct virtio_vsock_event event = {.id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET};
    struct virtqueue_chain chain;
    int result;
    do {
        result = virtqueue_pop(queue, &chain);
    } while (result == 0 && virtqueue_wait_kick(queue));
    if (result == 0)
        return; /* the driver is about to refill it, and its kick brings us back */
    if (result < 0 || virtqueue_write(&chain, 0, &event, sizeof event) != sizeof event) {
        fail(vsock);
        return;
    }
    vsock->event_due = false;
    vsock->event_left = virtqueue_available(queue);
    virtqueue_push(queue, chain.head, sizeof event);
    virtio_interrupt(&vsock->device, VSOCK_EVENT);
}

static void process_event(struct vsock *vsock)
{
    struct virtqueue *queue = &vsock->device.queues[VSOCK_EVENT];
    if (vsock->event_due)
        send_transport_reset(vsock);
    /* Linux resets its connections first and gives the buffer back afterwards. */
    if (vsock->hold && !vsock->event_due && virtqueue_wait_more(queue) != vsock->event_left)
        release_held(vsock);
}

static void resume(struct virtio_device *device)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    /* A driver that never put a buffer there does not listen to events: waiting for it would be for ever. */
    const struct virtqueue *queue = &device->queues[VSOCK_EVENT];
    bool listens = queue->next_avail != 0 || virtqueue_available(queue) != 0;
    if (!virtio_active(device) || !queue->ready || !listens)
        vsock->event_due = false;
    vsock->hold = vsock->event_due;
    process_event(vsock);
}

static void process(struct virtio_device *device, uint16_t index)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    listener_continue(vsock);
    if (index == VSOCK_TX && !virtio_serve_queue(device, VSOCK_TX, VSOCK_BUDGET, guest_packet))
        drop_all(vsock);
    else if (index == VSOCK_EVENT)
        process_event(vsock);
    deliver(vsock);
}

/* --- The host's side --- */

static bool parse_line(const char *line, uint32_t length, uint32_t *port)
{
    static const char verb[] = "CONNECT ";
    uint32_t at = sizeof verb - 1;
    uint64_t value = 0;
    if (length <= at + 1 || memcmp(line, verb, at) != 0)
        return false;
    for (; at < length - 1; at++) {
        if (line[at] < '0' || line[at] > '9')
            return false;
        value = value * 10 + (uint64_t)(line[at] - '0');
    }
    *port = (uint32_t)value;
    return value <= UINT32_MAX;
}

/* Read a client's line and not a byte more: what follows is for the guest. False: the client is no good. */
static bool read_line(struct connection *c)
{
    char *end = c->line + c->line_length;
    ssize_t seen = recv(c->fd, end, sizeof c->line - c->line_length, MSG_PEEK | MSG_DONTWAIT);
    if (seen < 0)
        return errno == EAGAIN || errno == EINTR;
    const char *newline = memchr(end, '\n', (size_t)seen);
    size_t take = newline != NULL ? (size_t)(newline - end) + 1 : (size_t)seen;
    if (take == 0 || recv(c->fd, end, take, MSG_DONTWAIT) != (ssize_t)take)
        return false;
    c->line_length += (uint8_t)take;
    if (newline == NULL)
        return c->line_length < sizeof c->line;
    uint32_t port;
    if (!virtio_active(&c->vsock->device) || !parse_line(c->line, c->line_length, &port))
        return false;
    request_or_hold(c, port);
    return true;
}

static void connection_ready(struct loop_watch *watch, uint32_t events)
{
    struct connection *c = container_of(watch, struct connection, watch);
    struct vsock *vsock = c->vsock;
    if ((events & (EPOLLHUP | EPOLLERR)) && !is_gone(c)) {
        /* Asked again, because the event may be of the socket that had this place before. */
        struct pollfd now = {.fd = c->fd};
        if (poll(&now, 1, 0) > 0 && c->state != CONNECTION_LINE)
            host_gone(c);
    }
    switch (c->state) {
    case CONNECTION_LINE:
        if (!read_line(c)) {
            connection_free(c);
            return;
        }
        break;
    case CONNECTION_HELD:
    case CONNECTION_REQUESTED:
        if (is_gone(c)) /* a request that the guest has not seen yet needs no reset */
            begin_close(c, c->state == CONNECTION_REQUESTED && !(c->control & SEND_REQUEST));
        break;
    default:
        flush(c);
        if (c->input != INPUT_ENDED && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
            c->input = wants_data(c) ? INPUT_READY : INPUT_NONE;
        break;
    }
    settle(c);
    deliver(vsock);
}

static void listener_ready(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct vsock *vsock = container_of(watch, struct vsock, listener);
    for (uint32_t i = 0; i < VSOCK_ACCEPT_BUDGET; i++) {
        bool full = vsock->free == NULL && vsock->pool_used == VSOCK_MAX_CONNECTIONS;
        int fd = full ? -1 : accept4(vsock->listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (!full && fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
            return;
        if (fd < 0 || connection_new(vsock, fd, FROM_CLIENT) == NULL) {
            if (fd >= 0)
                close(fd);
            /* No room, or no descriptors: those who wait in the backlog go on doing so until there is
             * (listener_continue), or until there may be, which is looked at when one more comes. */
            loop_modify(vsock->device.machine->loop, &vsock->listener, EPOLLIN | EPOLLET);
            return;
        }
    }
}

int vsock_listen(struct virtio_device *device, int listen_fd, struct forkd_error *err)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    int result;
    vsock->listener.ready = listener_ready;
    if (vsock->listener_fd >= 0)
        result = error_set(err, EBUSY, "listen", "vsock device", "it has a socket already");
    else
        result = loop_add(device->machine->loop, &vsock->listener, listen_fd, EPOLLIN, err);
    if (result < 0)
        close(listen_fd);
    else
        vsock->listener_fd = listen_fd;
    return result;
}

int vsock_connect(struct virtio_device *device, int stream_fd, uint32_t port, struct forkd_error *err)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    bool active = virtio_active(device);
    struct connection *c = active ? connection_new(vsock, stream_fd, FROM_DESCRIPTOR) : NULL;
    if (c == NULL) {
        close(stream_fd);
        return active ? error_set(err, ENOBUFS, "connect", "vsock device", "too many connections")
                      : error_set(err, EAGAIN, "connect", "vsock device", "the guest's driver is not up");
    }
    request_or_hold(c, port);
    settle(c);
    deliver(vsock);
    return 0;
}

/* --- Device --- */

static void read_config(struct virtio_device *device, uint32_t offset, void *data, uint32_t length)
{
    (void)device;
    const struct virtio_vsock_config config = {.guest_cid = VSOCK_GUEST_CID};
    virtio_copy_config(&config, sizeof config, offset, data, length);
}

static void reset(struct virtio_device *device)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    drop_all(vsock);
    vsock->event_due = false;
    vsock->hold = false;
}

/* Connections stay behind; what is kept is whether the guest has to be told that they are gone. */
static void save(const struct virtio_device *device, struct vmstate_writer *writer)
{
    const struct vsock *vsock = container_of(device, struct vsock, device);
    bool tell = vsock->known > 0 || vsock->reset_count > 0 || vsock->event_due || vsock->hold;
    vmstate_put_u8(writer, tell);
}

static void restore(struct virtio_device *device, struct vmstate_section *section)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    uint8_t tell = vmstate_get_u8(section);
    if (tell > 1)
        vmstate_reject(section);
    vsock->event_due = tell != 0;
    vsock->next_port = 0;
}

static void close_device(struct virtio_device *device)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    drop_all(vsock);
    if (vsock->listener_fd >= 0) {
        loop_remove(device->machine->loop, &vsock->listener);
        close(vsock->listener_fd);
    }
    if (vsock->spare != NULL)
        munmap(vsock->spare, VSOCK_BUFFER_BYTES);
    if (vsock->pool != NULL)
        munmap(vsock->pool, VSOCK_MAX_CONNECTIONS * sizeof *vsock->pool);
    free(vsock);
}

static const struct virtio_ops vsock_ops = {
    .name = "vsock",
    .id = VIRTIO_ID_VSOCK,
    .queue_count = 3,
    .reset = reset,
    .read_config = read_config,
    .process = process,
    .save = save,
    .restore = restore,
    .resume = resume,
    .close = close_device,
};

int vsock_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi,
                 struct vsock_host *host, struct forkd_error *err)
{
    struct vsock *vsock = calloc(1, sizeof *vsock);
    if (vsock == NULL)
        return error_set(err, ENOMEM, "create", "vsock device", NULL);
    virtio_init(&vsock->device, &vsock_ops, machine, gsi, 0, VSOCK_QUEUE_SIZE);
    vsock->host = host;
    vsock->listener.fd = -1;
    vsock->listener_fd = -1;
    *out = &vsock->device;
    return 0;
}
