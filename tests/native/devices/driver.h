/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of a virtio device, for tests: a piece of guest memory, a driver that goes through the real
 * registers, and a machine that notes what the device asks of it. One thread, beside those of a device; what
 * a VM's event loop does on a wake is done by driver_run.
 */
#ifndef FORKD_TESTS_DRIVER_H
#define FORKD_TESTS_DRIVER_H

#include "devices/devices.h"

#include <linux/virtio_ring.h>

#define DRIVER_GSI 5u
#define DRIVER_FEATURE(bit) (1ull << (bit))

/* One buffer of a chain. */
struct driver_buffer {
    uint64_t address;
    uint32_t length;
    bool writable;
};

struct driver_queue {
    uint16_t size;
    uint64_t desc;
    uint64_t avail;
    uint64_t used;
    uint16_t avail_index;
    uint16_t used_index;
    uint16_t free_count;
    uint16_t free[VIRTQUEUE_MAX_SIZE]; /* descriptors that are in no chain */
};

struct driver {
    struct guest_memory memory;
    pthread_mutex_t lock; /* the VM's */
    struct loop loop;
    struct virtio_machine machine;
    struct virtio_device *device;
    uint64_t allocated; /* guest memory below is in use */
    bool irq;           /* level of the line */
    uint32_t irq_calls;
    bool woken;
    uint64_t features;
    struct driver_queue queues[VIRTIO_MAX_QUEUES];
};

/* Each aborts the test when it fails. */
void driver_open(struct driver *driver, uint64_t memory_bytes);
void driver_close(struct driver *driver);

/* Guest memory: `bytes` of it at an alignment of 4096, and where a guest address is in our own memory. */
uint64_t driver_allocate(struct driver *driver, uint64_t bytes);
void *driver_at(const struct driver *driver, uint64_t address);

uint32_t driver_read(struct driver *driver, uint32_t offset);
void driver_write(struct driver *driver, uint32_t offset, uint32_t value);

/* Bring the device up (virtio 1.2, 3.1.1) with those of `features` that it offers, beside VERSION_1, and
 * `queue_size` in every queue. */
void driver_start(struct driver *driver, struct virtio_device *device, uint64_t features,
                  uint16_t queue_size);
/* As driver_start, up to the queues: DRIVER_OK is not set. */
void driver_negotiate(struct driver *driver, struct virtio_device *device, uint64_t features);
void driver_setup_queue(struct driver *driver, uint16_t index, uint16_t queue_size);

/* Write a descriptor; nothing is checked, so that a hostile driver can be played. */
void driver_descriptor(struct driver *driver, uint16_t queue, uint16_t index, uint64_t address,
                       uint32_t length, uint16_t flags, uint16_t next);
/* Make a head available to the device. */
void driver_offer(struct driver *driver, uint16_t queue, uint16_t head);
/* Make a chain of buffers and offer it; returns its head. */
uint16_t driver_add(struct driver *driver, uint16_t queue, const struct driver_buffer *buffers,
                    uint16_t count);
/* Notify the device and let it work. */
void driver_kick(struct driver *driver, uint16_t queue);
/* Take the next used chain, if there is one. */
bool driver_collect(struct driver *driver, uint16_t queue, uint16_t *head, uint32_t *length);
/* Where buffer `position` of a chain that was added lies. */
struct driver_buffer driver_buffer_of(const struct driver *driver, uint16_t queue, uint16_t head,
                                      uint16_t position);
/* The index that the device asked to hear of (EVENT_IDX). */
uint16_t driver_avail_event(const struct driver *driver, uint16_t queue);
/* Let the device work: what it was woken for, all that its own threads have to do, and what is due in the
 * loop, waiting at most timeout_ms. */
void driver_run(struct driver *driver, int timeout_ms);

/* The device's state as a vmstate file; free with vmstate_writer_free. */
void driver_save(const struct virtio_device *device, struct vmstate_writer *out);
/* Restore the device from it; 0 or a negative errno. */
int driver_restore(struct virtio_device *device, const struct vmstate_writer *state);
/*
 * What every device goes through: `changed` and `fresh` are two devices of one kind, the first of which is in
 * use. A save differs from that of the fresh one; the fresh one restored saves the same; every truncation and
 * a driver with features that are not offered are refused.
 */
void driver_state_battery(struct virtio_device *changed, struct virtio_device *fresh);

#endif
