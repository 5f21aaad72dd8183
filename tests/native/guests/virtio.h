/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's side of virtio-mmio for guests: one device, queues of a few descriptors at fixed places. */
#ifndef FORKD_TESTS_GUESTS_VIRTIO_H
#define FORKD_TESTS_GUESTS_VIRTIO_H

#include "access.h"

#define PAGE 4096u

/* virtio 1.2, 4.2.2; the devices' places are platform.h's. */
#define DEVICES 0xd0000000u
#define STRIDE 0x1000u
#define DEVICE_ID 0x008
#define DRIVER_FEATURES 0x020
#define DRIVER_FEATURES_SEL 0x024
#define QUEUE_SEL 0x030
#define QUEUE_NUM 0x038
#define QUEUE_READY 0x044
#define QUEUE_NOTIFY 0x050
#define INTERRUPT_STATUS 0x060
#define INTERRUPT_ACK 0x064
#define STATUS 0x070
#define QUEUE_DESC 0x080
#define QUEUE_DRIVER 0x090
#define QUEUE_DEVICE 0x0a0
#define CONFIG 0x100

/* virtio 1.2, 2.7.5. */
#define DESC_NEXT 1u
#define DESC_WRITE 2u

#ifndef FEATURES
#define FEATURES 0u /* of the first 32 */
#endif
#ifndef QUEUE_SIZE
#define QUEUE_SIZE 8u
#endif
#ifndef RINGS_AT
#define RINGS_AT 0x400000u
#endif
#define RINGS(queue) (RINGS_AT + (queue) * 4 * PAGE)
#define DESC(queue) RINGS(queue)
#define AVAIL(queue) (RINGS(queue) + PAGE)
#define USED(queue) (RINGS(queue) + 2 * PAGE)
/* One page for each descriptor. */
#define BUFFER(queue, index) (RINGS_AT + 0x100000u + ((queue) * QUEUE_SIZE + (index)) * PAGE)

static uint32_t device;

static inline volatile uint16_t *at16(uint32_t address)
{
    return (volatile uint16_t *)(uintptr_t)address;
}

/* The descriptor after it in a chain is the next in the table. */
static inline void describe(uint32_t queue, uint32_t index, uint32_t buffer, uint32_t length, uint16_t flags)
{
    uint32_t address = DESC(queue) + index * 16;
    *at(address) = buffer;
    *at(address + 4) = 0;
    *at(address + 8) = length;
    *at16(address + 12) = flags;
    *at16(address + 14) = (uint16_t)(index + 1);
}

static inline void add(uint32_t queue, uint32_t index)
{
    uint16_t next = *at16(AVAIL(queue) + 2);
    *at16(AVAIL(queue) + 4 + next % QUEUE_SIZE * 2) = (uint16_t)index;
    __asm__ volatile("" : : : "memory");
    *at16(AVAIL(queue) + 2) = (uint16_t)(next + 1);
}

static inline void offer(uint32_t queue, uint32_t index)
{
    add(queue, index);
    *at(device + QUEUE_NOTIFY) = queue;
}

/* The first `count` buffers of a queue, for the device to write to. */
static inline void offer_buffers(uint32_t queue, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        describe(queue, i, BUFFER(queue, i), PAGE, DESC_WRITE);
        offer(queue, i);
    }
}

static inline void find_device(uint32_t id)
{
    for (device = DEVICES; *at(device + DEVICE_ID) != id; device += STRIDE) {
    }
    *at(device + STATUS) = 1 | 2;
    *at(device + DRIVER_FEATURES_SEL) = 1;
    *at(device + DRIVER_FEATURES) = 1; /* VIRTIO_F_VERSION_1 */
    *at(device + DRIVER_FEATURES_SEL) = 0;
    *at(device + DRIVER_FEATURES) = FEATURES;
    *at(device + STATUS) = 1 | 2 | 8;
}

static inline void start_queue(uint32_t queue)
{
    *at(device + QUEUE_SEL) = queue;
    *at(device + QUEUE_NUM) = QUEUE_SIZE;
    *at(device + QUEUE_DESC) = DESC(queue);
    *at(device + QUEUE_DRIVER) = AVAIL(queue);
    *at(device + QUEUE_DEVICE) = USED(queue);
    *at(device + QUEUE_READY) = 1;
}

static inline void start_driver(void)
{
    *at(device + STATUS) = 1 | 2 | 8 | 4;
}

#endif
