/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that asks its first disk for something again and again - a read, or where its command line begins
 * with 'w' a write - and does not wait for it: meanwhile it goes on printing dots, and accepts and answers
 * vsock connections. It prints 'k' for a request that has worked, and 'e' for one that has not.
 */
#include "guest.h"
#include "virtio.h"
#include "vsock_packet.h"

#define BLOCK_DEVICE 2u
#define COMMAND_LINE 24 /* offset in hvm_start_info */
#define DISK_RINGS 2u   /* behind those of vsock */
#define TICK 24         /* bits of the TSC: some milliseconds */
#define SECTORS 256u
#define BLOCK_SECTORS 8u

struct packet {
    struct header header;
    uint8_t data[4];
};

static uint32_t disk;
static uint32_t type;

/* The log is written line by line. */
static void out_line(uint8_t character)
{
    out8(CONSOLE_PORT, character);
    out8(CONSOLE_PORT, '\n');
}

static uint32_t ticks(void)
{
    uint32_t low;
    uint32_t high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return high << (32 - TICK) | low >> TICK;
}

static void start_disk(void)
{
    find_device(BLOCK_DEVICE);
    disk = device;
    *at(disk + QUEUE_SEL) = 0;
    *at(disk + QUEUE_NUM) = QUEUE_SIZE;
    *at(disk + QUEUE_DESC) = DESC(DISK_RINGS);
    *at(disk + QUEUE_DRIVER) = AVAIL(DISK_RINGS);
    *at(disk + QUEUE_DEVICE) = USED(DISK_RINGS);
    *at(disk + QUEUE_READY) = 1;
    start_driver();
    describe(DISK_RINGS, 0, BUFFER(DISK_RINGS, 0), 16, DESC_NEXT);
    describe(DISK_RINGS, 1, BUFFER(DISK_RINGS, 1), PAGE, DESC_NEXT | (type == 0 ? DESC_WRITE : 0));
    describe(DISK_RINGS, 2, BUFFER(DISK_RINGS, 2), 1, DESC_WRITE);
}

static void ask_disk(void)
{
    static uint32_t sector;
    *at(BUFFER(DISK_RINGS, 0)) = type;
    *at(BUFFER(DISK_RINGS, 0) + 8) = sector;
    sector = (sector + BLOCK_SECTORS) % SECTORS;
    add(DISK_RINGS, 0);
    *at(disk + QUEUE_NOTIFY) = 0;
}

/* If it has answered, the next request. */
static void look_at_disk(void)
{
    static uint16_t seen;
    if (*at16(USED(DISK_RINGS) + 2) == seen)
        return;
    seen++;
    out_line((*at(BUFFER(DISK_RINGS, 2)) & 0xff) == 0 ? 'k' : 'e');
    ask_disk();
}

static void start_vsock(void)
{
    find_device(VSOCK);
    start_queue(RX);
    start_queue(TX);
    start_driver();
    offer_buffers(RX, QUEUE_SIZE);
}

static void reply(volatile const struct packet *to, uint16_t op, uint32_t length)
{
    volatile struct packet *packet = (volatile struct packet *)BUFFER(TX, 0);
    uint16_t before = *at16(USED(TX) + 2);
    packet->header.src_cid[0] = to->header.dst_cid[0];
    packet->header.dst_cid[0] = to->header.src_cid[0];
    packet->header.src_port = to->header.dst_port;
    packet->header.dst_port = to->header.src_port;
    packet->header.length = length;
    packet->header.type = 1;
    packet->header.op = op;
    packet->header.buffer_size = PAGE;
    packet->header.forwarded = 0;
    packet->data[0] = '!';
    describe(TX, 0, BUFFER(TX, 0), 44 + length, 0);
    offer(TX, 0);
    while (*at16(USED(TX) + 2) == before)
        __asm__ volatile("pause");
}

static void look_at_vsock(void)
{
    static uint16_t seen;
    if (*at16(USED(RX) + 2) == seen)
        return;
    uint32_t index = *at(USED(RX) + 4 + seen++ % QUEUE_SIZE * 8);
    volatile const struct packet *packet = (volatile const struct packet *)BUFFER(RX, index);
    if (packet->header.op == REQUEST)
        reply(packet, RESPONSE, 0);
    else if (packet->header.op == SHUTDOWN)
        reply(packet, RESET, 0);
    else if (packet->header.op == DATA)
        reply(packet, DATA, 1);
    offer(RX, index);
}

void run(uint32_t start_info)
{
    const char *line = (const char *)(uintptr_t)*at(start_info + COMMAND_LINE);
    type = *line == 'w';
    start_disk();
    start_vsock();
    ask_disk();
    out8(READY_PORT, 0);
    for (uint32_t last = ticks();; look_at_vsock()) {
        if (ticks() == last)
            continue;
        last = ticks();
        out_line('.');
        look_at_disk();
    }
}
