/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of the vsock device, and connections with flow control in both directions (virtio 1.2, 5.10). */
#ifndef FORKD_TESTS_GUESTS_AGENT_VSOCK_H
#define FORKD_TESTS_GUESTS_AGENT_VSOCK_H

#include "text.h"

#define VSOCK_CONNECTIONS 64u
/* The credit that a connection gives, and the longest request. */
#define VSOCK_INPUT (128u << 10)
#define VSOCK_OUTPUT (256u << 10)
#define VSOCK_SEGMENTS 16u

struct segment {
    const char *data;
    uint32_t length;
};

struct vsock_connection {
    bool used;
    bool open;    /* the other side knows of it as we do */
    bool ended;   /* nothing more comes in */
    bool leaving; /* it is closed when all has gone out */
    bool gone;    /* closed; the device may still read what it sends */
    uint32_t port;
    uint32_t host_port;

    char *input;   /* twice VSOCK_INPUT; [start, end) has come and was not consumed */
    uint32_t kept; /* so many bytes at its beginning stay: the request */
    uint32_t start;
    uint32_t end;
    uint32_t consumed;
    uint32_t told; /* of these, what the other side knows of */

    struct text output; /* where what is to be sent is written, in VSOCK_OUTPUT bytes */
    char *output_start;
    char *unsent; /* what of it is in no segment yet */
    struct segment segments[VSOCK_SEGMENTS];
    uint32_t segment;
    uint32_t segment_count;
    uint32_t in_flight; /* packets that the device has not given back */
    uint32_t sent;
    uint32_t peer_consumed;
    uint32_t peer_buffer;
};

/* Find the device and start it; the interrupt that it raises is returned. */
uint32_t vsock_start(void);
/* Connect to a port of the host. */
struct vsock_connection *vsock_connect(uint32_t port);
uint32_t vsock_number(const struct vsock_connection *c);

/* Take what has come; vsock_changed (agent.c) hears of each connection that something happened to. */
void vsock_poll(void);
/* Whether a connection whose port is this one is taken. */
bool vsock_listens(uint32_t port);
void vsock_changed(struct vsock_connection *c);
/* A connection is about to be forgotten. */
void vsock_closed(struct vsock_connection *c);

/* So many more bytes of `input` are done with. */
void vsock_consume(struct vsock_connection *c, uint32_t length);
/* Send what was written to `output`, then `data`, which stays as it is. */
void vsock_send(struct vsock_connection *c, const char *data, uint32_t length);
/* Nothing is on its way: `output` is empty again. */
bool vsock_is_idle(struct vsock_connection *c);
/* As far as there is credit. */
void vsock_push(struct vsock_connection *c);
/* Close it behind what is to be sent; or at once. */
void vsock_finish(struct vsock_connection *c);
void vsock_reset(struct vsock_connection *c);
/* Wait until the device has taken all that was sent. */
void vsock_drain(void);
/* Halt until something happens; `output_matters`: also when the device has taken what was sent. */
void vsock_wait(uint64_t deadline, bool output_matters);

#endif
