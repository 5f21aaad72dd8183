/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that idles as a kernel does: halted, with a timer that it sets anew at each tick. It accepts every
 * vsock connection, and answers each packet with how many ticks there have been and its TSC. After a packet
 * with 'b' it is busy, and halts no more. Ready when it can be snapshotted, and once more in every child.
 */
#include "guest.h"
#include "interrupts.h"
#include "virtio.h"
#include "vsock_packet.h"

#define LAPIC_LVT_TIMER 0x320u
#define LAPIC_INITIAL_COUNT 0x380u
#define LAPIC_CURRENT_COUNT 0x390u
#define LAPIC_DIVIDE 0x3e0u
#define DIVIDE_BY_1 0xbu
#define TICK 10000000u /* at KVM's 1 GHz: 10 ms */

struct packet {
    struct header header;
    uint32_t ticks;
    uint32_t tsc[2];
};

static uint32_t ticks;
static uint32_t busy;
static uint32_t generation;

static void look_at_generation(void)
{
    if (*at(VMGENID) == generation)
        return;
    generation = *at(VMGENID);
    out8(READY_PORT, 0);
}

static void look_at_timer(void)
{
    if (*at(LAPIC + LAPIC_CURRENT_COUNT) != 0)
        return;
    ticks++;
    *at(LAPIC + LAPIC_INITIAL_COUNT) = TICK;
}

static void wait(void)
{
    if (busy)
        __asm__ volatile("pause");
    else
        __asm__ volatile("sti\n hlt\n" : : : "eax", "cc", "memory");
    *at(device + INTERRUPT_ACK) = *at(device + INTERRUPT_STATUS);
    *at(LAPIC + LAPIC_EOI) = 0;
    look_at_timer();
    look_at_generation();
}

static uint32_t take(uint32_t queue, uint16_t *seen)
{
    while (*at16(USED(queue) + 2) == *seen)
        wait();
    return *at(USED(queue) + 4 + (*seen)++ % QUEUE_SIZE * 8);
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
    packet->ticks = ticks;
    __asm__ volatile("rdtsc" : "=a"(packet->tsc[0]), "=d"(packet->tsc[1]));
    describe(TX, 0, BUFFER(TX, 0), sizeof(struct header) + length, 0);
    offer(TX, 0);
    take(TX, &seen);
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
        busy = *(volatile const char *)&packet->ticks == 'b';
        reply(packet, DATA, sizeof(struct packet) - sizeof(struct header));
    }
    offer(RX, index);
}

void run(uint32_t start_info)
{
    (void)start_info;
    find_device(VSOCK);
    start_queue(RX);
    start_queue(TX);
    start_driver();
    offer_buffers(RX, QUEUE_SIZE);
    interrupts_start(GSI((device - DEVICES) / STRIDE));
    generation = *at(VMGENID);
    out8(READY_PORT, 0);
    while (*at(VMGENID) == generation)
        __asm__ volatile("pause");
    look_at_generation();
    *at(LAPIC + LAPIC_DIVIDE) = DIVIDE_BY_1;
    *at(LAPIC + LAPIC_LVT_TIMER) = TIMER_VECTOR;
    *at(LAPIC + LAPIC_INITIAL_COUNT) = TICK;
    for (;;)
        serve();
}
