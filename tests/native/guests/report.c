/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that gives memory back: in every child it writes to 32 MiB, tells the balloon that it uses none of
 * that but the first page, and is ready when that was taken. Flat 32-bit protected mode, no interrupts.
 */
#include "guest.h"

#define QUEUE_SIZE 8u
#include "virtio.h"

#define BALLOON 5u /* virtio 1.2, 5.5 */
#define REPORTING 2u
#define FIRST 0x1000000u
#define BYTES (32u << 20)
#define PARTS 4u

void run(uint32_t start_info)
{
    (void)start_info;
    find_device(BALLOON);
    *at(device + DRIVER_FEATURES_SEL) = 0;
    *at(device + DRIVER_FEATURES) = 1u << 5; /* VIRTIO_BALLOON_F_REPORTING */
    *at(device + STATUS) = 1 | 2 | 8;
    for (uint32_t queue = 0; queue <= REPORTING; queue++)
        start_queue(queue);
    start_driver();
    uint32_t known = *at(VMGENID);
    out8(READY_PORT, 0);
    while (*at(VMGENID) == known)
        __asm__ volatile("pause");
    for (uint32_t page = FIRST; page < FIRST + BYTES; page += PAGE)
        *at(page) = page;
    for (uint32_t i = 0; i < PARTS; i++) {
        uint32_t part = BYTES / PARTS;
        uint32_t kept = i == 0 ? PAGE : 0;
        describe(REPORTING, i, FIRST + i * part + kept, part - kept,
                 DESC_WRITE | (i + 1 < PARTS ? DESC_NEXT : 0));
    }
    offer(REPORTING, 0);
    while (*at16(USED(REPORTING) + 2) == 0)
        __asm__ volatile("pause");
    out8(READY_PORT, 0);
    stop();
}
