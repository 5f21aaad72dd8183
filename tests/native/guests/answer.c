/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest for tests that ask something: a virtio-vsock driver that accepts every connection and answers every
 * packet with one byte; not before it has written to one page in two from 16 MiB up and read the others,
 * unless the packet begins with 'p', for a ping. It says "ready" when it can be snapshotted, and once more in
 * every child. It halts until the device interrupts it, so that a thousand of them can be alive.
 */
#include "guest.h"
#include "interrupts.h"
#include "virtio.h"
#include "vsock_packet.h"

#define PAGES 1024u
#define FIRST 0x1000000u

struct packet {
    struct header header;
    uint8_t data[4];
};

static void wait_for_interrupt(void)
{
    __asm__ volatile("sti\n hlt\n" : : : "eax", "cc", "memory");
    *at(device + INTERRUPT_ACK) = *at(device + INTERRUPT_STATUS);
    *at(LAPIC + LAPIC_EOI) = 0;
}

/* Wait for a buffer that the device has used; its index. */
static uint32_t take(uint32_t queue, uint16_t *seen)
{
    while (*at16(USED(queue) + 2) == *seen)
        wait_for_interrupt();
    return *at(USED(queue) + 4 + (*seen)++ % QUEUE_SIZE * 8);
}

static void start_device(void)
{
    find_device(VSOCK);
    start_queue(RX);
    start_queue(TX);
    start_driver();
    offer_buffers(RX, QUEUE_SIZE);
}

static void reply(volatile const struct packet *to, uint16_t op, uint32_t length)
{
    static uint16_t seen;
    volatile struct packet *packet = (volatile struct packet *)BUFFER(TX, 0);
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
    take(TX, &seen);
}

static void work(void)
{
    for (uint32_t page = 0; page < PAGES; page += 2) {
        *at(FIRST + page * PAGE) = page;
        (void)*at(FIRST + (page + 1) * PAGE);
    }
}

static void serve(void)
{
    static uint16_t seen;
    uint32_t index = take(RX, &seen);
    volatile const struct packet *packet = (volatile const struct packet *)BUFFER(RX, index);
    if (packet->header.op == REQUEST) {
        reply(packet, RESPONSE, 0);
    } else if (packet->header.op == SHUTDOWN) {
        reply(packet, RESET, 0);
    } else if (packet->header.op == DATA) {
        if (packet->data[0] != 'p')
            work();
        reply(packet, DATA, 1);
    }
    offer(RX, index);
}

void run(uint32_t start_info)
{
    (void)start_info;
    for (uint32_t page = 0; page < PAGES; page++)
        *at(FIRST + page * PAGE) = ~page;
    start_device();
    interrupts_start(GSI((device - DEVICES) / STRIDE));
    uint32_t generation = *at(VMGENID);
    out8(READY_PORT, 0);
    while (*at(VMGENID) == generation)
        __asm__ volatile("pause");
    out8(READY_PORT, 0);
    for (;;)
        serve();
}
