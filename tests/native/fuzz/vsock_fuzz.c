/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest and careless host clients against the vsock device. The input is a script of one-byte
 * commands with their arguments: packets, buffers, register accesses, writes over the rings, what the host
 * does to its sockets, and restores.
 */
#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEMORY_BYTES (1u << 20)
#define QUEUE_SIZE 16u
#define MAX_CLIENTS 8u
#define MAX_COMMANDS 200u

struct fuzz {
    struct driver driver;
    struct vsock_host host;
    struct virtio_device *device;
    uint64_t arena; /* guest memory that buffers are taken from */
    int clients[MAX_CLIENTS];
    uint32_t accepted;
    int listener; /* the device's, once it was made */
    const uint8_t *data;
    size_t left;
};

static uint32_t take(struct fuzz *f, size_t bytes)
{
    uint32_t value = 0;
    if (bytes > f->left)
        bytes = f->left;
    memcpy(&value, f->data, bytes);
    f->data += bytes;
    f->left -= bytes;
    return value;
}

/* One of the sockets' slots, freed. */
static int *slot(struct fuzz *f, uint32_t index)
{
    int *client = &f->clients[index % MAX_CLIENTS];
    if (*client >= 0)
        close(*client);
    *client = -1;
    return client;
}

static int accept_host(struct vsock_host *host, uint32_t port)
{
    struct fuzz *f = container_of(host, struct fuzz, host);
    int pair[2];
    if (port % 4 == 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -ECONNREFUSED;
    *slot(f, f->accepted++) = pair[0];
    return pair[1];
}

/* Offer a chain in the rings where the driver first put them, whatever has become of them. */
static void offer(struct fuzz *f, uint16_t queue, const struct driver_buffer *buffers, uint16_t count)
{
    struct driver_queue *rings = &f->driver.queues[queue];
    uint16_t first = (uint16_t)(rings->avail_index * 2 % QUEUE_SIZE);
    for (uint16_t i = 0; i < count; i++) {
        uint16_t flags = buffers[i].writable ? VRING_DESC_F_WRITE : 0;
        if (i + 1 < count)
            flags |= VRING_DESC_F_NEXT;
        uint16_t index = (uint16_t)(first + i) % QUEUE_SIZE;
        driver_descriptor(&f->driver, queue, index, buffers[i].address, buffers[i].length, flags,
                          (uint16_t)((index + 1) % QUEUE_SIZE));
    }
    driver_offer(&f->driver, queue, first);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

/* A packet on one of a few port pairs, among them those that host clients get (found in the buffers that the
 * device filled). */
static void send_packet(struct fuzz *f)
{
    uint32_t shape = take(f, 1);
    struct virtio_vsock_hdr header = {.src_cid = VSOCK_GUEST_CID,
                                      .dst_cid = VSOCK_HOST_CID,
                                      .src_port = 52 + (shape & 3),
                                      .dst_port = 1 + (shape >> 2 & 3),
                                      .type = VIRTIO_VSOCK_TYPE_STREAM,
                                      .op = (uint16_t)(take(f, 1) % 9),
                                      .flags = take(f, 1),
                                      .buf_alloc = take(f, 4),
                                      .fwd_cnt = take(f, 2)};
    uint32_t length = take(f, 2);
    header.len = length;
    if (shape & 16) {
        struct virtio_vsock_hdr seen;
        memcpy(&seen, driver_at(&f->driver, f->arena + (shape >> 5) * 4096), sizeof seen);
        header.src_port = seen.dst_port;
        header.dst_port = seen.src_port;
    }
    if (header.op == 8) {
        header.op = (uint16_t)take(f, 2);
        header.len = take(f, 4);
        header.type = (uint16_t)take(f, 1);
    }
    uint64_t at = f->arena + 256 * 1024;
    memcpy(driver_at(&f->driver, at), &header, sizeof header);
    struct driver_buffer buffers[] = {{at, sizeof header, false}, {at + 4096, length, false}};
    offer(f, 1, buffers, length > 0 ? 2 : 1);
}

static void post_buffers(struct fuzz *f)
{
    uint32_t shape = take(f, 1);
    uint16_t queue = shape & 1 ? 2 : 0;
    for (uint32_t i = 0; i < (shape >> 1 & 7) + 1; i++) {
        uint32_t length = shape & 0x80 ? take(f, 1) : 4096;
        /* The header in one piece, or over two. */
        uint32_t first = shape & 0x80 ? 40 : 44 + (shape >> 4 & 7);
        struct driver_buffer buffers[] = {{f->arena + i * 4096, first, true},
                                          {f->arena + i * 4096 + first, length, true}};
        offer(f, queue, buffers, shape & 0x40 ? 2 : 1);
    }
}

static void connect_host(struct fuzz *f)
{
    int pair[2];
    uint32_t shape = take(f, 1);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    *slot(f, shape) = pair[0];
    if (vsock_connect(f->device, pair[1], 52 + (shape >> 3 & 3), NULL) < 0)
        return;
}

/* A client of the listener, with a line that is almost right, or right. */
static void connect_client(struct fuzz *f)
{
    char line[32] = "CONNECT 53\n{}";
    uint32_t shape = take(f, 1);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length = sizeof address;
    if (f->listener < 0) {
        /* An abstract name that the kernel picks. */
        f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (f->listener < 0 ||
            bind(f->listener, (struct sockaddr *)&address, sizeof address.sun_family) < 0 ||
            listen(f->listener, 16) < 0 || vsock_listen(f->device, f->listener, NULL) < 0)
            abort();
    }
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client < 0 || getsockname(f->listener, (struct sockaddr *)&address, &length) < 0)
        abort();
    *slot(f, shape) = client;
    if (connect(client, (struct sockaddr *)&address, length) < 0)
        return;
    if (shape & 8)
        line[take(f, 1) % 16] = (char)take(f, 1);
    if (send(client, line, shape >> 4, MSG_NOSIGNAL) < 0)
        return;
}

static void use_client(struct fuzz *f)
{
    static uint8_t bytes[65536];
    uint32_t shape = take(f, 1);
    int client = f->clients[shape % MAX_CLIENTS];
    if (client < 0)
        return;
    switch (shape >> 3 & 3) {
    case 0:
        if (send(client, bytes, (take(f, 2) + 1) % sizeof bytes, MSG_NOSIGNAL) < 0)
            return;
        break;
    case 1:
        if (recv(client, bytes, take(f, 2), 0) < 0)
            return;
        break;
    case 2:
        shutdown(client, shape & 0x20 ? SHUT_RD : SHUT_WR);
        break;
    default:
        slot(f, shape);
        break;
    }
}

static void restore(struct fuzz *f)
{
    struct vmstate_writer saved;
    driver_save(f->device, &saved);
    if (driver_restore(f->device, &saved) != 0)
        abort();
    virtio_resume(f->device);
    vmstate_writer_free(&saved);
}

static void run(struct fuzz *f)
{
    for (int i = 0; i < 8; i++)
        driver_run(&f->driver, 0);
}

static void restart(struct fuzz *f)
{
    uint64_t allocated = f->driver.allocated;
    driver_start(&f->driver, f->device, UINT64_MAX, QUEUE_SIZE);
    f->driver.allocated = allocated;
}

static void command(struct fuzz *f)
{
    uint64_t rings = f->driver.queues[0].desc;
    uint64_t value;
    switch (take(f, 1) % 13) {
    case 0:
    case 1:
        send_packet(f);
        break;
    case 2:
    case 3:
        post_buffers(f);
        break;
    case 4:
        connect_host(f);
        break;
    case 5:
    case 6:
        use_client(f);
        break;
    case 7:
        run(f);
        break;
    case 8:
        value = take(f, 4);
        virtio_mmio_write(f->device, take(f, 2) & 0x1ff, &value, 4);
        break;
    case 9:
        virtio_mmio_read(f->device, take(f, 2) & 0x1ff, &value, 1u << (take(f, 1) & 3));
        break;
    case 12:
        connect_client(f);
        break;
    case 10: {
        uint8_t *at = driver_at(&f->driver, rings + take(f, 2) % (f->arena - rings));
        *at = (uint8_t)take(f, 1);
        break;
    }
    default:
        if (take(f, 1) & 1)
            restore(f);
        else
            restart(f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz fuzz;
    struct fuzz *f = &fuzz;
    memset(f, 0, sizeof *f);
    f->data = data;
    f->left = size;
    f->host.accept = accept_host;
    f->listener = -1;
    for (uint32_t i = 0; i < MAX_CLIENTS; i++)
        f->clients[i] = -1;
    driver_open(&f->driver, MEMORY_BYTES);
    if (vsock_create(&f->device, &f->driver.machine, DRIVER_GSI, &f->host, NULL) < 0)
        abort();
    restart(f);
    driver_allocate(&f->driver, 1);
    f->arena = f->driver.queues[2].used + 2 * GUEST_PAGE_SIZE;
    for (uint32_t i = 0; i < MAX_COMMANDS && f->left > 0; i++)
        command(f);
    run(f);
    f->device->ops->close(f->device);
    for (uint32_t i = 0; i < MAX_CLIENTS; i++)
        slot(f, i);
    driver_close(&f->driver);
    return 0;
}
