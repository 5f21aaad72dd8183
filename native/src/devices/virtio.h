/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device and its MMIO transport (virtio 1.2, 4.2). The device knows nothing of the transport: it is
 * handed its queues, and asks for interrupts with virtio_interrupt. The transport knows nothing of the device
 * but its operations.
 *
 * Threads: register accesses come from vCPU threads, everything else from the VM's event loop; both hold the
 * VM's lock. A write to QUEUE_NOTIFY only marks the queue and wakes the loop (virtio_machine.wake), which
 * then calls virtio_process, with the lock: so no device waits for anything there. One that has to, a disk,
 * has threads of its own, which do that without the lock.
 */
#ifndef FORKD_DEVICES_VIRTIO_H
#define FORKD_DEVICES_VIRTIO_H

#include "base/loop.h"
#include "devices/throttle.h"
#include "devices/virtqueue.h"

#include <linux/virtio_config.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTIO_MAX_QUEUES 3

struct virtio_device;

struct virtio_ops {
    const char *name; /* the name of the device's vmstate section, "block" and so on */
    uint32_t id;      /* virtio 1.2, section 5 */
    uint16_t queue_count;
    /* The driver is done: take up work. Optional, as are reset, read_config, write_config and resume. */
    void (*activate)(struct virtio_device *device);
    /* Back to the state after power-on; drop everything under way. */
    void (*reset)(struct virtio_device *device);
    /* Fill `data` with `length` bytes of device configuration from `offset`; bytes beyond it stay zero. */
    void (*read_config)(struct virtio_device *device, uint32_t offset, void *data, uint32_t length);
    void (*write_config)(struct virtio_device *device, uint32_t offset, const void *data, uint32_t length);
    /* The driver kicked queue `index`: process all of it. Also called for every queue after a restore. */
    void (*process)(struct virtio_device *device, uint16_t index);
    /*
     * Of a device with threads of its own, all or none. First at a kick, on any thread: get one of them to
     * work; false: there is none, and `process` is to do it. Is there work under way? After a reset, that is
     * of before it. Before a pause, on the loop: begin nothing more, and wait, with the lock released, until
     * that is done; vCPUs run. 0, or a negative errno. Afterwards, also if that has failed: go on.
     */
    bool (*begin)(struct virtio_device *device, uint16_t index);
    bool (*busy)(const struct virtio_device *device);
    int (*settle)(struct virtio_device *device, struct forkd_error *err);
    void (*release)(struct virtio_device *device);
    /* The device's own part of the state, after the transport's, into the same section. Optional. */
    void (*save)(const struct virtio_device *device, struct vmstate_writer *writer);
    void (*restore)(struct virtio_device *device, struct vmstate_section *section);
    /* The host side is attached (loop, sockets, files) and the vCPUs are about to run again after a restore.
     */
    void (*resume)(struct virtio_device *device);
    /* Give back everything the device holds on the host. */
    void (*close)(struct virtio_device *device);
};

/* What a device needs of the machine it sits in. */
struct virtio_machine {
    const struct guest_memory *memory;
    struct loop *loop;
    /* Set the level of an interrupt line; called with the lock held, from any thread. */
    void (*set_irq)(struct virtio_machine *machine, uint32_t gsi, bool level);
    /* There is something for the guest, whether or not it wants to be interrupted; likewise. */
    void (*news)(struct virtio_machine *machine);
    /* Get the loop to call virtio_process on devices with kicked queues; from vCPU threads. */
    void (*wake)(struct virtio_machine *machine);
    /* The VM cannot go on, and ends with this error; with the lock held. */
    void (*fail)(struct virtio_machine *machine, const struct forkd_error *error);
};

struct virtio_device {
    const struct virtio_ops *ops;
    struct virtio_machine *machine;
    uint32_t gsi;
    uint64_t device_features; /* offered, without the transport's own (VERSION_1, EVENT_IDX, INDIRECT_DESC) */

    /* Transport state, saved with the device. */
    uint64_t driver_features;
    uint32_t device_features_select;
    uint32_t driver_features_select;
    uint32_t queue_select;
    uint32_t status;
    uint32_t interrupt_status;
    uint32_t config_generation;
    uint32_t kicked; /* bit per queue, not yet processed */
    struct virtqueue queues[VIRTIO_MAX_QUEUES];

    struct throttle *throttles[VIRTIO_MAX_QUEUES]; /* of each queue; NULL: not throttled */
};

/* Set up the common part. `queue_size`: what each queue offers. */
void virtio_init(struct virtio_device *device, const struct virtio_ops *ops, struct virtio_machine *machine,
                 uint32_t gsi, uint64_t features, uint16_t queue_size);

/* A register access in the device's 4 KiB window, lengths 1, 2, 4 and 8; anything the spec forbids reads as
 * zero and is ignored when written. */
void virtio_mmio_read(struct virtio_device *device, uint32_t offset, void *data, uint32_t length);
void virtio_mmio_write(struct virtio_device *device, uint32_t offset, const void *data, uint32_t length);

/* Run the device on every queue that was kicked. */
void virtio_process(struct virtio_device *device);

/* For devices: */
/* Has the driver set DRIVER_OK, and is the device in order? */
bool virtio_active(const struct virtio_device *device);
bool virtio_has_feature(const struct virtio_device *device, uint32_t bit);
/* Interrupt for used buffers of this queue, if the driver wants one. */
void virtio_interrupt(struct virtio_device *device, uint16_t queue);
/* Have ops->process called for this queue again, after other work: nobody may hog the lock. */
void virtio_kick(struct virtio_device *device, uint16_t queue);
/* Carry out what one chain asks for; false: the driver broke the rules. *written, 0 at first: bytes that were
 * put into its writable part. */
typedef bool virtio_serve(struct virtio_device *device, struct virtqueue_chain *chain, uint32_t *written);
/* What is served before others get their turn on the loop and the lock. */
struct virtio_turn {
    uint32_t chains;
    uint64_t bytes; /* the last may have more */
};
#define VIRTIO_TURN_BYTES (1ull << 20)
#define VIRTIO_TURN(most) ((struct virtio_turn){.chains = (most), .bytes = VIRTIO_TURN_BYTES})
/*
 * Serve the chains of a queue, a turn's worth of them, and as many as its throttle lets through, and
 * interrupt. False: the driver broke the rules, and the device has failed.
 */
bool virtio_serve_queue(struct virtio_device *device, uint16_t index, struct virtio_turn turn,
                        virtio_serve *serve);
/* For ops->read_config: the part of a configuration structure that was asked for. */
void virtio_copy_config(const void *config, size_t size, uint32_t offset, void *data, uint32_t length);
/* The driver broke the rules: set NEEDS_RESET and tell it. Work stops until it resets. */
void virtio_fail(struct virtio_device *device);
/* Device configuration changed: new generation and an interrupt. */
void virtio_config_changed(struct virtio_device *device);

void virtio_save(const struct virtio_device *device, uint32_t instance, struct vmstate_writer *writer);
int virtio_restore(struct virtio_device *device, uint32_t instance, const struct vmstate_reader *reader,
                   struct forkd_error *err);
/* After a restore: attach to the running machine: raise the line again where an interrupt was pending,
 * ops->resume, and process every ready queue (kicks may have been lost between save and restore). */
void virtio_resume(struct virtio_device *device);

#endif
