/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/devices.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

/* virtio 1.2, 5.4.2: one queue, of buffers that the device fills. */
#define RNG_QUEUE 0u
#define RNG_QUEUE_SIZE 64u
/* As much as one request gets; the driver asks again, and meanwhile the loop can do other things. */
#define RNG_REQUEST_BYTES 65536u

struct rng {
    struct virtio_device device;
};

/* Fill a chain; returns the bytes written. */
static uint32_t fill(const struct virtqueue_chain *chain)
{
    const struct iovec *iov = chain->iov + chain->readable_count;
    uint32_t done = 0;
    for (uint16_t i = 0; i < chain->writable_count && done < RNG_REQUEST_BYTES; i++) {
        size_t length = iov[i].iov_len;
        if (length > RNG_REQUEST_BYTES - done)
            length = RNG_REQUEST_BYTES - done;
        for (size_t at = 0; at < length;) {
            ssize_t count = getrandom((uint8_t *)iov[i].iov_base + at, length - at, 0);
            if (count < 0 && errno != EINTR)
                return done;
            if (count > 0) {
                at += (size_t)count;
                done += (uint32_t)count;
            }
        }
    }
    return done;
}

static bool serve(struct virtio_device *device, struct virtqueue_chain *chain, uint32_t *written)
{
    (void)device;
    /* virtio 1.2, 5.4.6.1: only device-writable buffers. */
    if (chain->writable_count == 0 || chain->readable_count != 0)
        return false;
    *written = fill(chain);
    return true;
}

static void process(struct virtio_device *device, uint16_t index)
{
    virtio_serve_queue(device, index, VIRTIO_TURN(RNG_QUEUE_SIZE), serve);
}

static void close_device(struct virtio_device *device)
{
    free(container_of(device, struct rng, device));
}

static const struct virtio_ops rng_ops = {
    .name = "rng",
    .id = VIRTIO_ID_RNG,
    .queue_count = 1,
    .process = process,
    .close = close_device,
};

int rng_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi,
               struct forkd_error *err)
{
    struct rng *rng = calloc(1, sizeof *rng);
    if (rng == NULL)
        return error_set(err, ENOMEM, "create", "rng device", NULL);
    virtio_init(&rng->device, &rng_ops, machine, gsi, 0, RNG_QUEUE_SIZE);
    *out = &rng->device;
    return 0;
}
