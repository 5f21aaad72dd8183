/* SPDX-License-Identifier: Apache-2.0 */
/* Packets from the guest. */
#include "devices/vsock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* Payload from the guest: to the socket, or into the buffer behind what waits there. */
static void forward(struct connection *c, struct virtqueue_chain *chain, uint32_t length)
{
    struct vsock_host *host = c->vsock->host;
    if (c->origin != FROM_GUEST && c->forwarded == 0 && c->buffered == 0 && host != NULL &&
        host->answered != NULL)
        host->answered(host);
    if (connection_host_is_gone(c)) {
        if (length > 0)
            c->output = OUTPUT_LOST;
        c->forwarded += length;
        return;
    }
    if (length > VSOCK_BUFFER_BYTES - c->buffered) {
        connection_begin_close(c, true); /* more than the credit it was given */
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
            connection_lose_host(c);
            return;
        }
        if (count > 0)
            done = (uint32_t)count;
        c->forwarded += done;
    }
    if (done < length && !connection_keep(c, chain, done, length))
        connection_begin_close(c, true);
}

/* The guest connects to a port of the host. */
static void guest_request(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    int fd = vsock->host == NULL ? -ECONNREFUSED : vsock->host->accept(vsock->host, header->dst_port);
    struct connection *c = fd < 0 ? NULL : connection_new(vsock, fd, FROM_GUEST);
    if (c == NULL) {
        if (fd >= 0)
            close(fd);
        vsock_reset_unknown(vsock, header);
        return;
    }
    c->guest_port = header->src_port;
    c->host_port = header->dst_port;
    c->peer_buffer = header->buf_alloc;
    c->peer_forwarded = header->fwd_cnt;
    c->control = SEND_RESPONSE;
    connection_hash(c);
    connection_settle(c);
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
            connection_begin_close(c, true);
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
        connection_begin_close(c, true);
        break;
    }
}

static void known_packet(struct connection *c, struct virtqueue_chain *chain,
                         const struct virtio_vsock_hdr *header)
{
    c->peer_buffer = header->buf_alloc;
    c->peer_forwarded = header->fwd_cnt;
    if (header->op == VIRTIO_VSOCK_OP_RST)
        connection_begin_close(c, false);
    else if (c->state == CONNECTION_OPEN)
        open_packet(c, chain, header);
    else if (c->state == CONNECTION_REQUESTED && header->op == VIRTIO_VSOCK_OP_RESPONSE)
        connection_opened(c);
    else if (c->state == CONNECTION_REQUESTED)
        connection_begin_close(c, true);
    /* Closing: our reset is on its way already. */
    connection_settle(c);
}

bool vsock_guest_packet(struct virtio_device *device, struct virtqueue_chain *chain, uint32_t *written)
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
    struct connection *c = vsock_lookup(vsock, header.src_port, header.dst_port);
    bool valid = header.type == VIRTIO_VSOCK_TYPE_STREAM &&
                 header.len <= chain->readable_bytes - (uint32_t)sizeof header;
    if (!valid && c != NULL && header.type == VIRTIO_VSOCK_TYPE_STREAM) {
        connection_begin_close(c, true);
        connection_settle(c);
    } else if (valid && c != NULL) {
        known_packet(c, chain, &header);
    } else if (valid && header.op == VIRTIO_VSOCK_OP_REQUEST) {
        guest_request(vsock, &header);
    } else if (header.op != VIRTIO_VSOCK_OP_RST) {
        vsock_reset_unknown(vsock, &header);
    }
    return true;
}
