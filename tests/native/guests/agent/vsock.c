/* SPDX-License-Identifier: Apache-2.0 */
#include "vsock.h"

#include "cpu.h"

#define QUEUE_SIZE 64u
#include "../virtio.h"
#include "../vsock_packet.h"

#define NO_INTERRUPT 1u

/* Fewer than the queue has places for, and more than a page each: what is written to of them, a child comes
 * to own. */
#define RX_BUFFERS 8u
#define RX_BYTES (64u << 10)
#define RX_BUFFER(index) (0x600000u + (index) * RX_BYTES)
/* A packet is two descriptors, its header and its payload. */
#define TX_PACKETS (QUEUE_SIZE / 2)
#define TX_HEADER(slot) (BUFFER(TX, 0) + (slot) * 64)
#define PAYLOAD_MOST (64u << 10)

#define INPUT(index) (0x800000u + (index) * 2 * VSOCK_INPUT)
#define OUTPUT(index) (INPUT(VSOCK_CONNECTIONS) + (index) * VSOCK_OUTPUT)

#define HOST_CID 2u
#define GUEST_CID 3u
#define FIRST_PORT 1024u

enum { SHUTDOWN_RECEIVE = 1, SHUTDOWN_SEND = 2 };

static struct vsock_connection connections[VSOCK_CONNECTIONS];
static uint32_t connections_used; /* none beyond these is */
static struct vsock_connection *owners[TX_PACKETS];
static uint32_t packets_sent;
static uint32_t packets_done;
static uint16_t packets_taken;
static bool unannounced;

uint32_t vsock_start(void)
{
    find_device(VSOCK);
    start_queue(RX);
    start_queue(TX);
    start_queue(EVENT);
    start_driver();
    for (uint32_t i = 0; i < RX_BUFFERS; i++) {
        describe(RX, i, RX_BUFFER(i), RX_BYTES, DESC_WRITE);
        offer(RX, i);
    }
    describe(EVENT, 0, BUFFER(EVENT, 0), 64, DESC_WRITE);
    offer(EVENT, 0);
    *at16(AVAIL(TX)) = NO_INTERRUPT;
    return GSI((device - DEVICES) / STRIDE);
}

uint32_t vsock_number(const struct vsock_connection *c)
{
    return (uint32_t)(c - connections);
}

/* --- Packets out --- */

static void announce(void)
{
    if (unannounced)
        *at(device + QUEUE_NOTIFY) = TX;
    unannounced = false;
}

static void free_if_done(struct vsock_connection *c)
{
    if (c->gone && c->in_flight == 0)
        c->used = false;
    while (connections_used > 0 && !connections[connections_used - 1].used)
        connections_used--;
}

/* The device serves packets in order. */
static void collect(void)
{
    while ((uint16_t)packets_done != *at16(USED(TX) + 2)) {
        struct vsock_connection *c = owners[packets_done++ % TX_PACKETS];
        if (c != NULL && --c->in_flight == 0)
            free_if_done(c);
    }
}

/* Waiting here is no deadlock: the device needs nothing of us to go on. */
static uint32_t take_slot(void)
{
    collect();
    while (packets_sent - packets_done == TX_PACKETS) {
        vsock_wait(NEVER, true);
        collect();
    }
    return packets_sent++ % TX_PACKETS;
}

static void send_packet(struct vsock_connection *c, uint32_t port, uint32_t host_port, uint16_t op,
                        const char *data, uint32_t length)
{
    uint32_t slot = take_slot();
    struct header *header = (struct header *)TX_HEADER(slot);
    header->src_cid[0] = GUEST_CID;
    header->dst_cid[0] = HOST_CID;
    header->src_port = port;
    header->dst_port = host_port;
    header->length = length;
    header->type = 1;
    header->op = op;
    header->buffer_size = VSOCK_INPUT;
    header->forwarded = c != NULL ? c->consumed : 0;
    owners[slot] = c;
    if (c != NULL) {
        c->in_flight++;
        c->told = c->consumed;
    }
    describe(TX, 2 * slot, TX_HEADER(slot), sizeof *header, length > 0 ? DESC_NEXT : 0);
    if (length > 0)
        describe(TX, 2 * slot + 1, (uint32_t)(uintptr_t)data, length, 0);
    add(TX, 2 * slot);
    unannounced = true;
}

static void send_control(struct vsock_connection *c, uint16_t op)
{
    send_packet(c, c->port, c->host_port, op, NULL, 0);
}

/* --- Connections --- */

static struct vsock_connection *find(uint32_t port, uint32_t host_port)
{
    for (struct vsock_connection *c = connections; c < connections + connections_used; c++) {
        if (c->used && !c->gone && c->port == port && c->host_port == host_port)
            return c;
    }
    return NULL;
}

static struct vsock_connection *create(uint32_t port, uint32_t host_port)
{
    uint32_t index = 0;
    while (index < VSOCK_CONNECTIONS && connections[index].used)
        index++;
    if (index == VSOCK_CONNECTIONS)
        return NULL;
    struct vsock_connection *c = &connections[index];
    if (index >= connections_used)
        connections_used = index + 1;
    *c = (struct vsock_connection){
        .used = true,
        .port = port,
        .host_port = host_port,
        .input = (char *)INPUT(index),
        .output = {(char *)OUTPUT(index), (char *)OUTPUT(index) + VSOCK_OUTPUT},
        .output_start = (char *)OUTPUT(index),
        .unsent = (char *)OUTPUT(index),
    };
    return c;
}

static void forget(struct vsock_connection *c)
{
    vsock_closed(c);
    c->gone = true;
    free_if_done(c);
}

struct vsock_connection *vsock_connect(uint32_t port)
{
    struct vsock_connection *c = create(FIRST_PORT, port);
    send_control(c, REQUEST);
    announce();
    return c;
}

void vsock_consume(struct vsock_connection *c, uint32_t length)
{
    c->start += length;
    c->consumed += length;
    if (c->start == c->end)
        c->start = c->end = c->kept;
    if (c->consumed - c->told >= VSOCK_INPUT / 4)
        send_control(c, CREDIT_UPDATE);
}

static void add_segment(struct vsock_connection *c, const char *data, uint32_t length)
{
    if (length > 0 && c->segment_count < VSOCK_SEGMENTS)
        c->segments[c->segment_count++] = (struct segment){data, length};
}

void vsock_send(struct vsock_connection *c, const char *data, uint32_t length)
{
    add_segment(c, c->unsent, (uint32_t)(c->output.at - c->unsent));
    c->unsent = c->output.at;
    add_segment(c, data, length);
}

void vsock_push(struct vsock_connection *c)
{
    while (c->open && c->segment < c->segment_count) {
        struct segment *segment = &c->segments[c->segment];
        uint32_t length = c->peer_buffer - (c->sent - c->peer_consumed);
        if (length > segment->length)
            length = segment->length;
        if (length > PAYLOAD_MOST)
            length = PAYLOAD_MOST;
        if (length == 0)
            return;
        send_packet(c, c->port, c->host_port, DATA, segment->data, length);
        c->sent += length;
        segment->data += length;
        segment->length -= length;
        if (segment->length == 0)
            c->segment++;
    }
    if (c->leaving && !c->gone)
        vsock_reset(c);
}

bool vsock_is_idle(struct vsock_connection *c)
{
    if (c->segment < c->segment_count || c->in_flight > 0)
        return false;
    c->segment = c->segment_count = 0;
    c->output.at = c->unsent = c->output_start;
    return true;
}

void vsock_finish(struct vsock_connection *c)
{
    vsock_send(c, NULL, 0);
    c->leaving = true;
    vsock_push(c);
}

/* The host gets what was sent before; nothing comes back. */
void vsock_reset(struct vsock_connection *c)
{
    send_control(c, RESET);
    forget(c);
}

/* --- Packets in --- */

static void take_data(struct vsock_connection *c, const char *data, uint32_t length)
{
    if (c->leaving || length > VSOCK_INPUT - (c->end - c->start)) {
        c->consumed += length; /* nobody wants it */
        return;
    }
    if (length > 2 * VSOCK_INPUT - c->end) {
        memcpy(c->input + c->kept, c->input + c->start, c->end - c->start); /* downwards */
        c->end -= c->start - c->kept;
        c->start = c->kept;
    }
    memcpy(c->input + c->end, data, length);
    c->end += length;
}

static void take_request(const struct header *header)
{
    struct vsock_connection *c =
        vsock_listens(header->dst_port) ? create(header->dst_port, header->src_port) : NULL;
    if (c == NULL) {
        send_packet(NULL, header->dst_port, header->src_port, RESET, NULL, 0);
        return;
    }
    c->open = true;
    c->peer_buffer = header->buffer_size;
    send_control(c, RESPONSE);
}

static void take_packet(const struct header *header)
{
    struct vsock_connection *c = find(header->dst_port, header->src_port);
    if (c == NULL) {
        if (header->op == REQUEST)
            take_request(header);
        return;
    }
    c->peer_buffer = header->buffer_size;
    c->peer_consumed = header->forwarded;
    switch (header->op) {
    case RESPONSE:
        c->open = true;
        break;
    case RESET:
        forget(c);
        return;
    case SHUTDOWN:
        if (header->flags & SHUTDOWN_RECEIVE) {
            vsock_reset(c);
            return;
        }
        c->ended = true;
        break;
    case DATA:
        take_data(c, (const char *)(header + 1), header->length);
        break;
    case CREDIT_REQUEST:
        send_control(c, CREDIT_UPDATE);
        break;
    default:
        break;
    }
    vsock_changed(c);
}

/* A child of a snapshot begins without the connections that were open in it. */
static void take_events(void)
{
    static uint16_t seen;
    if (*at16(USED(EVENT) + 2) == seen)
        return;
    seen++;
    for (struct vsock_connection *c = connections; c < connections + VSOCK_CONNECTIONS; c++) {
        if (c->used && !c->gone)
            forget(c);
    }
    offer(EVENT, 0);
}

void vsock_poll(void)
{
    collect();
    take_events();
    uint16_t before = packets_taken;
    while (*at16(USED(RX) + 2) != packets_taken) {
        uint32_t index = *at(USED(RX) + 4 + packets_taken++ % QUEUE_SIZE * 8);
        take_packet((const struct header *)RX_BUFFER(index));
        add(RX, index);
    }
    if (before != packets_taken)
        *at(device + QUEUE_NOTIFY) = RX;
}

void vsock_wait(uint64_t deadline, bool output_matters)
{
    announce();
    if (deadline == NOW)
        return;
    /* Whoever waited for a place in the queue may have had the interrupt of what came in; and the device has
     * to see what we want before we look whether it is there already. */
    *at16(AVAIL(TX)) = output_matters ? 0 : NO_INTERRUPT;
    __sync_synchronize();
    if (*at16(USED(RX) + 2) != packets_taken ||
        (output_matters && *at16(USED(TX) + 2) != (uint16_t)packets_done))
        return;
    cpu_wait(deadline);
    *at(device + INTERRUPT_ACK) = *at(device + INTERRUPT_STATUS);
}

void vsock_drain(void)
{
    collect();
    while (packets_sent != packets_done) {
        vsock_wait(NEVER, true);
        collect();
    }
}
