/* SPDX-License-Identifier: Apache-2.0 */
/* Packets to the guest. */
#include "devices/vsock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Buffers of the driver that one read fills, for a connection that filled one. */
#define VSOCK_BURST 16u

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

void vsock_reset_unknown(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    if (vsock->reset_count == VSOCK_MAX_RESETS)
        return;
    uint32_t slot = (vsock->reset_start + vsock->reset_count++) % VSOCK_MAX_RESETS;
    vsock->resets[slot] = (struct pending_reset){
        .guest_port = header->src_port, .host_port = header->dst_port, .type = header->type};
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
        c->told_shutdown = connection_host_shutdown(c);
        flags = c->told_shutdown;
    } else if (c->control & SEND_RESET) {
        op = VIRTIO_VSOCK_OP_RST;
        sent = SEND_RESET;
        connection_unhash(c);
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
    int result = burst_collect(c->vsock, &burst, c->burst ? VSOCK_BURST : 1, connection_credit(c));
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
        if (connection_credit(c) == 0)
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
        connection_lose_host(c);
    return 0;
}

void vsock_deliver(struct vsock *vsock)
{
    struct virtqueue *queue = &vsock->device.queues[VSOCK_RX];
    struct virtio_turn turn = VIRTIO_TURN(VSOCK_BUDGET);
    while (virtio_active(&vsock->device) && (vsock->reset_count > 0 || vsock->first != NULL)) {
        if (virtqueue_available(queue) == 0 && !virtqueue_wait_kick(queue))
            break;
        if (turn.chains-- == 0 || turn.bytes == 0) {
            virtio_kick(&vsock->device, VSOCK_RX);
            break;
        }
        if (vsock->reset_count > 0) {
            if (send_pending_reset(vsock) < 0)
                vsock_fail(vsock);
            continue;
        }
        struct connection *c = vsock->first;
        uint32_t before = c->sent;
        connection_dequeue(c);
        int result = 0;
        if (c->control != 0)
            result = send_control(c);
        else if (c->input == INPUT_READY && connection_wants_data(c))
            result = send_data(c);
        uint32_t bytes = c->sent - before;
        turn.bytes -= bytes < turn.bytes ? bytes : turn.bytes;
        if (result < 0)
            vsock_fail(vsock);
        else
            connection_settle(c);
    }
    virtio_interrupt(&vsock->device, VSOCK_RX);
    /* Those that still wait do so for the driver, and need not hear of their sockets. The longer part of them
     * was here already. */
    struct connection *c = vsock->settled == NULL ? vsock->first : vsock->settled->next;
    for (; c != NULL; c = c->next)
        connection_update_watch(c);
    vsock->settled = vsock->last;
}
