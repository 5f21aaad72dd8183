/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest for tests that ask something: a virtio-vsock driver that accepts every connection and answers every
 * packet with one byte; not before it has written to one page in two from 16 MiB up and read the others,
 * unless the packet begins with 'p', for a ping, or with 'b': then it waits to be branched. With 'm' it makes
 * a mess of the machine as well: of registers, interrupt controllers and devices. It says "ready" when it can
 * be snapshotted, and once more in every child. It halts until the device interrupts it, so that a thousand
 * of them can be alive.
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

static void set_msr(uint32_t index, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* Something else in all that a snapshot has, and in what none has. */
static void make_a_mess(void)
{
    static const struct {
        uint32_t index;
        uint64_t value;
    } msrs[] = {{0x174, 8}, /* SYSENTER_CS, _ESP, _EIP */
                {0x175, 0x123456},
                {0x176, 0x654321},
                {0x277, 0x0606060606060606}, /* PAT */
                {0x200, 0x40000006},         /* MTRRs: a pair, a fixed one, the default type */
                {0x201, 0xc0000800},
                {0x250, 0x0606060606060606},
                {0x2ff, 0x0c06},
                {0x17a, 1}, /* machine checks: their state */
                {0xc0000081, 0x0023001000000000},
                {0xc0000082, 0x1000}};
    for (uint32_t i = 0; i < sizeof msrs / sizeof msrs[0]; i++)
        set_msr(msrs[i].index, msrs[i].value);
    __asm__ volatile("mov %0, %%cr2\n mov %0, %%dr0\n mov %0, %%dr3" : : "r"(0x1234));
    *at(LAPIC + 0x080) = 0x20;     /* task priority */
    *at(LAPIC + 0x320) = 1u << 16; /* a timer that counts, and is masked */
    *at(LAPIC + 0x380) = 0xfffffff0u;
    *at(LAPIC + 0x0d0) = 0x2000000; /* logical destination */
    for (uint32_t line = 4; line < 24; line++) {
        *at(IOAPIC) = IOAPIC_ENTRY(line);
        *at(IOAPIC + IOAPIC_DATA) = 1u << 16 | 1u << 15 | 0x80 | line;
    }
    out8(CONSOLE_PORT + 7, 0x5a);
    out8(CONSOLE_PORT + 3, 0x1b);
    out8(CONSOLE_PORT + 1, 0x02); /* its interrupt comes at once */
    out8(CONSOLE_PORT, 'm');
    *at(DEVICES + 0x70) = 1 | 2; /* the first device, a disk, has a driver */
    *at(DEVICES + 0x30) = 7;
}

/* Only a child gets beyond this, in which that number is another. */
static void await_fork(uint32_t generation)
{
    out8(READY_PORT, 0);
    while (*at(VMGENID) == generation)
        __asm__ volatile("pause");
    out8(READY_PORT, 0);
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
        char question = (char)packet->data[0];
        uint32_t generation = *at(VMGENID); /* before it is known that it waits */
        if (question != 'p' && question != 'b')
            work();
        if (question == 'm')
            make_a_mess();
        reply(packet, DATA, 1);
        if (question == 'b')
            await_fork(generation);
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
    await_fork(*at(VMGENID));
    for (;;)
        serve();
}
