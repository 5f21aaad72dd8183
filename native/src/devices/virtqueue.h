/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, virtio 1.2 section 2.7. Everything in guest memory is hostile: it is copied out once,
 * checked, and only the copy is used.
 */
#ifndef FORKD_DEVICES_VIRTQUEUE_H
#define FORKD_DEVICES_VIRTQUEUE_H

#include "base/error.h"
#include "base/guest_memory.h"
#include "snapshot/vmstate.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIRTQUEUE_MAX_SIZE 256

struct virtqueue {
    const struct guest_memory *memory;
    uint16_t max_size; /* what the device offers: a power of two, at most VIRTQUEUE_MAX_SIZE */
    bool drops;        /* what it hands out the device does not write to, but drops */
    uint16_t size;     /* what the driver chose */
    bool ready;
    bool event_idx; /* VIRTIO_RING_F_EVENT_IDX was negotiated */
    bool indirect;  /* VIRTIO_RING_F_INDIRECT_DESC was negotiated */
    bool broken;    /* the driver broke the rules; nothing is taken from it until reset */
    uint64_t desc;  /* guest addresses of the three parts */
    uint64_t avail;
    uint64_t used;
    uint16_t next_avail; /* free-running indices */
    uint16_t next_used;
    uint16_t signalled_used; /* next_used at the last interrupt, for EVENT_IDX */
    uint64_t epoch;          /* another one since each reset and start: of chains that are returned later */
};

/* A descriptor chain, copied out: first everything the device reads, then everything it writes. */
struct virtqueue_chain {
    uint16_t head;
    uint16_t readable_count; /* iov[0 .. readable_count) */
    uint16_t writable_count; /* iov[readable_count .. readable_count + writable_count) */
    uint32_t readable_bytes;
    uint32_t writable_bytes;
    struct iovec iov[VIRTQUEUE_MAX_SIZE];
};

void virtqueue_reset(struct virtqueue *queue);
/* The driver said ready: check size, alignment and that all three parts lie in RAM. False: refuse. */
bool virtqueue_enable(struct virtqueue *queue);
/* 1: *chain is the next one; 0: none; -EPROTO: the driver broke the rules, and queue->broken is set. */
int virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain);
/* Give the last popped chain back as if it had not been taken (no room for it on the host side). Several can
 * go back, last one first. */
void virtqueue_unpop(struct virtqueue *queue);
/* How many chains are waiting; a number above the queue's size shows a driver that breaks the rules. */
uint16_t virtqueue_available(const struct virtqueue *queue);
/* Return a chain with `written` bytes written into its writable part. */
void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written);
/* The same in two steps, for chains that the driver must see at once: put them at positions 0, 1, ... beyond
 * what it sees, then show `count` of them. */
void virtqueue_stage(struct virtqueue *queue, uint16_t position, uint16_t head, uint32_t written);
void virtqueue_publish(struct virtqueue *queue, uint16_t count);
/* Is an interrupt due for what was pushed since the last call that said so? */
bool virtqueue_interrupt_due(struct virtqueue *queue);
/* Ask the driver to kick for the next chain it adds; true when one has come in the meantime (pop again). */
bool virtqueue_wait_kick(struct virtqueue *queue);
/* Ask the driver to kick for the next chain it adds, while those already there are left alone; returns how
 * many those are, including any that came in the meantime without a kick. */
uint16_t virtqueue_wait_more(struct virtqueue *queue);

void virtqueue_save(const struct virtqueue *queue, struct vmstate_writer *writer);
void virtqueue_restore(struct virtqueue *queue, struct vmstate_section *section);

/* Copy between a chain's part and a buffer, from `offset` in that part; returns the bytes copied. */
size_t virtqueue_read(const struct virtqueue_chain *chain, size_t offset, void *to, size_t length);
size_t virtqueue_write(const struct virtqueue_chain *chain, size_t offset, const void *from, size_t length);

#endif
