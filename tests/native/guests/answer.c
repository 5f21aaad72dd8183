/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest for tests that ask something: a virtio-vsock driver that accepts every connection and answers every
 * packet with one byte; not before it has written to one page in two from 16 MiB up and read the others,
 * unless the packet begins with 'p', for a ping. It says "ready" when it can be snapshotted, and once more in
 * every child. It halts until the device interrupts it, so that a thousand of them can be alive.
 */
#include "guest.h"
#include "virtio.h"

#define PAGES 1024u
#define FIRST 0x1000000u

#define VSOCK 19u
#define RX 0u
#define TX 1u

/* Where the interrupt controllers are, and how the device's interrupt comes: platform.h, Intel SDM 3A, 11. */
#define IOAPIC 0xfec00000u
#define IOAPIC_DATA 0x10u
#define IOAPIC_ENTRY(gsi) (0x10u + 2 * (gsi))
#define LAPIC 0xfee00000u
#define LAPIC_EOI 0x0b0u
#define LAPIC_SPURIOUS 0x0f0u
#define GSI(slot) (16u + (slot))
#define VECTOR 0x40u

#define OP_REQUEST 1u
#define OP_RESPONSE 2u
#define OP_RESET 3u
#define OP_SHUTDOWN 4u
#define OP_RW 5u

/* virtio 1.2, 5.10.6: struct virtio_vsock_hdr. */
struct packet {
    uint32_t src_cid[2];
    uint32_t dst_cid[2];
    uint32_t src_port;
    uint32_t dst_port;
    uint32_t length;
    uint16_t type;
    uint16_t op;
    uint32_t flags;
    uint32_t buffer_size;
    uint32_t forwarded;
    uint8_t data[4];
};

/* The handler goes back without iret, which emulators of protected mode may lack: interrupts are off again,
 * and of the registers it uses only what wait_for_interrupt gives away. */
void handler(void);
__asm__(".text\n"
        "handler:\n"
        "movl (%esp), %eax\n"
        "addl $12, %esp\n"
        "jmp *%eax\n");

static void wait_for_interrupt(void)
{
    __asm__ volatile("sti\n hlt\n" : : : "eax", "cc", "memory");
    *at(device + INTERRUPT_ACK) = *at(device + INTERRUPT_STATUS);
    *at(LAPIC + LAPIC_EOI) = 0;
}

static void start_interrupts(void)
{
    static const uint64_t segments[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
    static uint64_t gates[VECTOR + 1];
    static struct {
        uint16_t limit;
        uint32_t address;
    } __attribute__((packed)) gdt, idt;
    uint32_t address = (uint32_t)(uintptr_t)handler;
    gates[VECTOR] = (uint64_t)(address >> 16) << 48 | 0x8e0000080000 | (address & 0xffff);
    gdt.limit = sizeof segments - 1;
    gdt.address = (uint32_t)(uintptr_t)segments;
    idt.limit = sizeof gates - 1;
    idt.address = (uint32_t)(uintptr_t)gates;
    __asm__ volatile("lgdt %0\n lidt %1\n ljmp $8, $1f\n 1:\n mov %2, %%ds\n mov %2, %%es\n mov %2, %%ss\n"
                     :
                     : "m"(gdt), "m"(idt), "r"(16)
                     : "memory");
    *at(LAPIC + LAPIC_SPURIOUS) = 0x1ff;
    uint32_t entry = IOAPIC_ENTRY(GSI((device - DEVICES) / STRIDE));
    *at(IOAPIC) = entry + 1;
    *at(IOAPIC + IOAPIC_DATA) = 0;
    *at(IOAPIC) = entry;
    *at(IOAPIC + IOAPIC_DATA) = VECTOR; /* fixed, edge, to the first CPU */
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
    for (uint32_t i = 0; i < QUEUE_SIZE; i++) {
        describe(RX, i, BUFFER(RX, i), PAGE, DESC_WRITE);
        offer(RX, i);
    }
}

static void reply(volatile const struct packet *to, uint16_t op, uint32_t length)
{
    static uint16_t seen;
    volatile struct packet *packet = (volatile struct packet *)BUFFER(TX, 0);
    packet->src_cid[0] = to->dst_cid[0];
    packet->dst_cid[0] = to->src_cid[0];
    packet->src_port = to->dst_port;
    packet->dst_port = to->src_port;
    packet->length = length;
    packet->type = 1;
    packet->op = op;
    packet->buffer_size = PAGE;
    packet->forwarded = 0;
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
    if (packet->op == OP_REQUEST) {
        reply(packet, OP_RESPONSE, 0);
    } else if (packet->op == OP_SHUTDOWN) {
        reply(packet, OP_RESET, 0);
    } else if (packet->op == OP_RW) {
        if (packet->data[0] != 'p')
            work();
        reply(packet, OP_RW, 1);
    }
    offer(RX, index);
}

void run(uint32_t start_info)
{
    (void)start_info;
    for (uint32_t page = 0; page < PAGES; page++)
        *at(FIRST + page * PAGE) = ~page;
    start_device();
    start_interrupts();
    uint32_t generation = *at(VMGENID);
    out8(READY_PORT, 0);
    while (*at(VMGENID) == generation)
        __asm__ volatile("pause");
    out8(READY_PORT, 0);
    for (;;)
        serve();
}
