/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets between host and guest: the way to the agent. Each connection joins one Unix stream socket with one
 * (guest port, host port) pair.
 *
 * Guest to host, a packet's payload goes from its descriptors straight into the socket; what the socket does
 * not take waits in the connection's ring buffer, which the credit we give bounds (virtio 1.2, 5.10.6.3:
 * VSOCK_BUFFER_BYTES); for want of one the connection is reset. Host to guest, bytes are
 * read from the socket straight into the driver's buffers, when there are buffers and the guest gave credit.
 * Nothing is queued in that direction: what a connection still has to say is a set of flags (struct
 * connection.control), and connections that have something to say take turns (struct vsock.first).
 *
 * A connection's memory is in a pool that stays until the device is closed, because the loop may call a watch
 * that was removed, or given to another socket, a moment ago (loop_once). So no callback trusts its events:
 * readiness is tried out with calls that do not block.
 *
 * vsock_connection.c has what a connection is and does next, vsock_to_guest.c and vsock_from_guest.c the
 * packets, vsock_host.c the host's clients, vsock.c the device and what it is after a restore.
 */
#ifndef FORKD_DEVICES_VSOCK_H
#define FORKD_DEVICES_VSOCK_H

#include "devices/devices.h"

#include <linux/virtio_vsock.h>

/* virtio 1.2, 5.10.2 */
#define VSOCK_RX 0u
#define VSOCK_TX 1u
#define VSOCK_EVENT 2u
#define VSOCK_QUEUE_SIZE VIRTQUEUE_MAX_SIZE

#define VSOCK_BUCKETS 1024u
/* Resets for ports that have no connection; beyond that the guest has to time out. */
#define VSOCK_MAX_RESETS 64u
/* Packets of one direction before others get their turn on the loop and the lock. */
#define VSOCK_BUDGET 256u

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
    bool listener_held;      /* clients wait in its backlog (vsock_hold) */
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
    struct connection
        *settled;     /* from the first to this one they are watched for what they can use; or NULL */
    uint8_t *spare;   /* one ring buffer kept for the next that needs one */
    uint32_t buffers; /* ring buffers that there are */
    uint32_t buffers_most;
    uint32_t connections_most;
    uint32_t reset_start;
    uint32_t reset_count;
    struct pending_reset resets[VSOCK_MAX_RESETS];
    struct connection *buckets[VSOCK_BUCKETS];
};

/* --- vsock_connection.c --- */

struct connection *vsock_lookup(struct vsock *vsock, uint32_t guest_port, uint32_t host_port);
/* Whether lookup finds it. */
void connection_hash(struct connection *c);
void connection_unhash(struct connection *c);
/* In and out of the turn order. */
void connection_enqueue(struct connection *c);
void connection_dequeue(struct connection *c);
/* A connection over `fd`, which becomes its own; NULL (and fd still the caller's) when there is no room. */
struct connection *connection_new(struct vsock *vsock, int fd, enum connection_origin origin);
void connection_free(struct connection *c);
void vsock_drop_all(struct vsock *vsock);
/* The driver broke the rules of its queues. Host clients see the end of their connections. */
void vsock_fail(struct vsock *vsock);
/* virtio 1.2, 5.10.6.3. The peer's numbers may be lies: all they bring it is our bytes in its own buffers. */
uint32_t connection_credit(const struct connection *c);
bool connection_wants_data(const struct connection *c);
bool connection_host_is_gone(const struct connection *c);
/* Nothing can be written to the socket any more: what waits for it is as good as delivered. */
void connection_lose_host(struct connection *c);
/* Watch the socket for what the connection can use now. */
void connection_update_watch(struct connection *c);
/* Nothing more is taken from the guest. `reset`: it has to be told. */
void connection_begin_close(struct connection *c, bool reset);
/* What the guest should know. That nobody reads its bytes can wait for the end of ours, so that it gets a
 * client's last words before it learns that the client has left; unless it writes. */
uint8_t connection_host_shutdown(const struct connection *c);
/* Bring everything about a connection in line after something happened to it. May free it. */
void connection_settle(struct connection *c);
/* Write what waits for the socket. */
void connection_flush(struct connection *c);
/* Keep what the socket did not take: payload bytes [from, length). False: no memory. */
bool connection_keep(struct connection *c, const struct virtqueue_chain *chain, uint32_t from,
                     uint32_t length);
/* Draw a port and ask the guest. */
void connection_request(struct connection *c);

/* --- vsock_to_guest.c --- */

/* Give connections their turns while the driver has buffers. */
void vsock_deliver(struct vsock *vsock);
/* Answer a packet that has no connection, later. */
void vsock_reset_unknown(struct vsock *vsock, const struct virtio_vsock_hdr *header);

/* --- vsock_from_guest.c --- */

/* A virtio_serve of VSOCK_TX. */
bool vsock_guest_packet(struct virtio_device *device, struct virtqueue_chain *chain, uint32_t *written);

/* --- vsock_host.c --- */

/* Something happened to its socket. */
void connection_ready(struct loop_watch *watch, uint32_t events);
/* The guest accepted: now the client may know, and its bytes may flow. */
void connection_opened(struct connection *c);
/* There may be room for clients again. */
void vsock_listener_continue(struct vsock *vsock);

#endif
