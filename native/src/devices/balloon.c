/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/devices.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/mman.h>

/*
 * Virtio 1.2, 5.5, for free page reporting alone: what the guest says it does not use is dropped. It is no
 * page of this process any more, and in no layer; should the guest use it again, it reads as the snapshot's,
 * or as zeroes in a machine that was booted. A driver has to expect that (5.5.6.8), and Linux's offers no
 * reporting to a guest that relies on what is in its free pages. Nothing is ever asked of the balloon itself,
 * so what comes through its own two queues, which there have to be, is given back.
 */
enum { INFLATE, DEFLATE, REPORTING, QUEUE_COUNT };
#define BALLOON_QUEUE_SIZE 64u
/* Linux reports 32 blocks, of 2 or 4 MiB, in a chain, and waits for it; more than that is for a later turn.
 */
#define BALLOON_CHAINS 1u

struct balloon {
    struct virtio_device device;
};

/* Whole pages of a part of guest memory, which begins at a page's start on both sides. */
static void drop(const struct iovec *part)
{
    uint8_t *start = part->iov_base;
    size_t before = -(uintptr_t)start % GUEST_PAGE_SIZE;
    if (part->iov_len < before + GUEST_PAGE_SIZE)
        return;
    size_t whole = (part->iov_len - before) / GUEST_PAGE_SIZE * GUEST_PAGE_SIZE;
    (void)madvise(start + before, whole, MADV_DONTNEED); /* or it stays */
}

static bool serve(struct virtio_device *device, struct virtqueue_chain *chain, uint32_t *written)
{
    (void)device;
    (void)written; /* nothing: what is there afterwards is not said */
    /* 5.5.6.8: a report has only buffers that the device may write. */
    if (chain->readable_count != 0 || chain->writable_count == 0)
        return false;
    for (uint16_t i = 0; i < chain->writable_count; i++)
        drop(&chain->iov[i]);
    return true;
}

static bool ignore(struct virtio_device *device, struct virtqueue_chain *chain, uint32_t *written)
{
    (void)device;
    (void)written;
    return chain->writable_count == 0; /* 5.5.6: lists of pages */
}

static void process(struct virtio_device *device, uint16_t index)
{
    virtio_serve_queue(device, index, VIRTIO_TURN(BALLOON_CHAINS), index == REPORTING ? serve : ignore);
}

static void close_device(struct virtio_device *device)
{
    free(container_of(device, struct balloon, device));
}

static const struct virtio_ops balloon_ops = {
    .name = "balloon",
    .id = VIRTIO_ID_BALLOON,
    .queue_count = QUEUE_COUNT,
    .process = process,
    .close = close_device,
};

int balloon_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi,
                   struct forkd_error *err)
{
    struct balloon *balloon = calloc(1, sizeof *balloon);
    if (balloon == NULL)
        return error_set(err, ENOMEM, "create", "balloon device", NULL);
    virtio_init(&balloon->device, &balloon_ops, machine, gsi, 1ull << VIRTIO_BALLOON_F_REPORTING,
                BALLOON_QUEUE_SIZE);
    balloon->device.queues[REPORTING].drops = true;
    *out = &balloon->device;
    return 0;
}
