/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that takes what it gets: in every child, once that has said that it is ready, it writes as fast as
 * it can, for ever, to what its command line names: 'c', the console, in lines of all lengths; 'v',
 * connections to port 9 of the host, each until it is reset or has 256 KiB under way, and then the next; 'n',
 * the network.
 */
#include "guest.h"
#include "virtio.h"
#include "vsock_packet.h"

#define COMMAND_LINE 24 /* offset in hvm_start_info */
#define NET 1u
#define NET_TX 1u
#define NET_HEADER 12u
#define FRAME 1514u
#define PORT 9u
#define PAYLOAD 65536u
#define CREDIT 262144u
#define DATA_AT 0x600000u

static void flood_console(void)
{
    for (uint32_t i = 0;; i++)
        out8(CONSOLE_PORT, i % 1021 == 0 ? '\n' : (uint8_t)('a' + i % 26));
}

static void await(uint32_t queue, uint16_t *seen)
{
    while (*at16(USED(queue) + 2) == *seen)
        __asm__ volatile("pause");
    ++*seen;
}

static void send_packet(uint32_t guest_port, uint16_t op, uint32_t length)
{
    static uint16_t seen;
    volatile struct header *header = (volatile struct header *)BUFFER(TX, 0);
    header->src_cid[0] = 3;
    header->dst_cid[0] = 2;
    header->src_port = guest_port;
    header->dst_port = PORT;
    header->length = length;
    header->type = 1;
    header->op = op;
    header->buffer_size = CREDIT;
    header->forwarded = 0;
    describe(TX, 0, BUFFER(TX, 0), sizeof *header, length > 0 ? DESC_NEXT : 0);
    if (length > 0)
        describe(TX, 1, DATA_AT, length, 0);
    offer(TX, 0);
    await(TX, &seen);
}

/* Give the device its buffers back, unread: what it answers is all the same here. */
static void drain(void)
{
    static uint16_t seen;
    while (*at16(USED(RX) + 2) != seen)
        offer(RX, *at(USED(RX) + 4 + seen++ % QUEUE_SIZE * 8));
}

static void flood_vsock(void)
{
    for (uint32_t port = 1024;; port++) {
        send_packet(port, REQUEST, 0);
        drain();
        /* The socket's own buffer, and then ours; without hearing of credit, since it has it at first. */
        for (uint32_t sent = 0; sent < 2 * CREDIT; sent += PAYLOAD) {
            send_packet(port, DATA, PAYLOAD);
            drain();
        }
    }
}

static void flood_net(void)
{
    uint16_t seen = 0;
    *at(BUFFER(NET_TX, 0)) = 0;
    *at(BUFFER(NET_TX, 0) + 4) = 0;
    *at(BUFFER(NET_TX, 0) + 8) = 0;
    for (;;) {
        describe(NET_TX, 0, BUFFER(NET_TX, 0), NET_HEADER + FRAME, 0);
        offer(NET_TX, 0);
        await(NET_TX, &seen);
    }
}

static void start_vsock(void)
{
    find_device(VSOCK);
    start_queue(RX);
    start_queue(TX);
    start_driver();
    offer_buffers(RX, QUEUE_SIZE);
}

void run(uint32_t start_info)
{
    char what = *(const char *)(uintptr_t)*at(start_info + COMMAND_LINE);
    if (what == 'v')
        start_vsock();
    if (what == 'n') {
        find_device(NET);
        start_queue(NET_TX);
        start_driver();
    }
    uint32_t generation = *at(VMGENID);
    out8(READY_PORT, 0);
    while (*at(VMGENID) == generation)
        __asm__ volatile("pause");
    out8(READY_PORT, 0);
    if (what == 'v')
        flood_vsock();
    if (what == 'n')
        flood_net();
    flood_console();
}
