/* SPDX-License-Identifier: Apache-2.0 */
/* The devices a machine can have. Each is created detached from the host; what belongs to this host (files,
 * taps, sockets) is handed over separately, so that a restored device can be set up before it is known who
 * runs it. */
#ifndef FORKD_DEVICES_DEVICES_H
#define FORKD_DEVICES_DEVICES_H

#include "devices/virtio.h"
#include "snapshot/disk.h"

/* block.c: virtio 1.2, 5.2. The disk stays the caller's and outlives the device. */
int block_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi, struct disk *disk,
                 struct forkd_error *err);
/* How fast it is (throttle.h); in the process that runs the machine, before the vCPUs run. */
int block_limit(struct virtio_device *device, uint64_t bytes_per_second, uint64_t requests_per_second,
                struct forkd_error *err);

/* net.c: virtio 1.2, 5.1. Without a tap the link is down. */
int net_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi, const uint8_t mac[6],
               struct forkd_error *err);
/* Take over a tap descriptor (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, non-blocking); before the vCPUs run. It
 * becomes the device's, and is closed when this fails. */
int net_attach(struct virtio_device *device, int tap_fd, struct forkd_error *err);
/* The same in each direction. */
int net_limit(struct virtio_device *device, uint64_t bytes_per_second, struct forkd_error *err);
/* Held, the wire is cut without the driver hearing of it: what it sends is lost, and nothing comes in. */
void net_hold(struct virtio_device *device, bool held);

/* rng.c: virtio 1.2, 5.4, from getrandom(2). */
int rng_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi,
               struct forkd_error *err);

/* balloon.c: virtio 1.2, 5.5, as far as the guest reports free pages. */
int balloon_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi,
                   struct forkd_error *err);

/* vsock.c: virtio 1.2, 5.10. Guest CID 3, host CID 2. */
#define VSOCK_GUEST_CID 3u
#define VSOCK_HOST_CID 2u

/* Who answers when the guest connects to a host port. */
struct vsock_host {
    /* Return a connected, non-blocking stream socket, which becomes the device's, or a negative errno to
     * refuse. */
    int (*accept)(struct vsock_host *host, uint32_t port);
    /* A connection of the host's is about to be asked for, vsock_connect or a client's; and the first bytes
     * of the guest on such a connection are about to be passed on. May be NULL. */
    void (*opening)(struct vsock_host *host);
    void (*answered)(struct vsock_host *host);
};

int vsock_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi,
                 struct vsock_host *host, struct forkd_error *err);
/* The most connections, and the most ring buffers, of VSOCK_BUFFER_BYTES each, for what the guest wrote and
 * nobody has read: at least 1 each, VSOCK_MAX_CONNECTIONS of both at first. */
#define VSOCK_MAX_CONNECTIONS 1023u
#define VSOCK_BUFFER_BYTES (256u * 1024)
void vsock_limit(struct virtio_device *device, uint32_t connections, uint32_t buffers);
/*
 * Serve host clients on a listening, non-blocking Unix stream socket: each sends "CONNECT <port>\n" and gets
 * "OK <host port>\n" once the guest has accepted; a refused or broken request is closed. The socket becomes
 * the device's, and is closed when this fails.
 */
int vsock_listen(struct virtio_device *device, int listen_fd, struct forkd_error *err);
/* Held, new clients of that socket wait. */
void vsock_hold(struct virtio_device *device, bool held);
/* Whether there is any connection, of whoever asked for it. */
bool vsock_is_connected(const struct virtio_device *device);
/* Connect a stream socket, which becomes the device's, to a port in the guest. A refusal closes it, and so
 * does a failure: -EAGAIN the guest's driver is not up (or broken), -ENOBUFS too many connections. */
int vsock_connect(struct virtio_device *device, int stream_fd, uint32_t port, struct forkd_error *err);

#endif
