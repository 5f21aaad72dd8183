/* SPDX-License-Identifier: Apache-2.0 */
/* The device, and how it begins again after a restore. */
#include "devices/vsock.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- After a restore --- */

/* The guest has dealt with TRANSPORT_RESET: connections may be opened. */
static void release_held(struct vsock *vsock)
{
    vsock->hold = false;
    for (uint32_t i = 0; i < vsock->pool_used; i++) {
        struct connection *c = &vsock->pool[i];
        if (c->state == CONNECTION_HELD) {
            connection_request(c);
            connection_settle(c);
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
        vsock_fail(vsock);
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
    vsock_listener_continue(vsock);
    if (index == VSOCK_TX &&
        !virtio_serve_queue(device, VSOCK_TX, VIRTIO_TURN(VSOCK_BUDGET), vsock_guest_packet))
        vsock_drop_all(vsock);
    else if (index == VSOCK_EVENT)
        process_event(vsock);
    vsock_deliver(vsock);
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
    vsock_drop_all(vsock);
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
    vsock_drop_all(vsock);
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

void vsock_limit(struct virtio_device *device, uint32_t connections, uint32_t buffers)
{
    struct vsock *vsock = container_of(device, struct vsock, device);
    vsock->connections_most = connections;
    vsock->buffers_most = buffers;
}

int vsock_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi,
                 struct vsock_host *host, struct forkd_error *err)
{
    struct vsock *vsock = calloc(1, sizeof *vsock);
    if (vsock == NULL)
        return error_set(err, ENOMEM, "create", "vsock device", NULL);
    virtio_init(&vsock->device, &vsock_ops, machine, gsi, 0, VSOCK_QUEUE_SIZE);
    vsock->host = host;
    vsock_limit(&vsock->device, VSOCK_MAX_CONNECTIONS, VSOCK_MAX_CONNECTIONS);
    vsock->listener.fd = -1;
    vsock->listener_fd = -1;
    *out = &vsock->device;
    return 0;
}
