/* SPDX-License-Identifier: Apache-2.0 */
#include "flood.h"

#include "commands.h"

/* In protected mode, where instructions are emulated: much for each of them. */
#define QUEUE_SIZE 64u
#define RINGS_AT 0x2c00000u
#include "../virtio.h"

#define NET 1u
#define BLOCK 2u
#define SLOTS 28u /* platform.h */

#define DISK_QUEUE 0u
#define DISK_REQUESTS 16u
#define REQUEST_DESCRIPTORS 3u
#define REQUEST_BYTES (256u << 10)
#define SECTOR 512u
#define TYPE_OUT 1u

#define NET_TX 1u
#define NET_HEADER 12u
#define IP_BYTES 1500u
#define FRAME (14u + IP_BYTES)
#define SOURCE_PORT (NET_HEADER + 14u + 20u)

#define MEMORY_FROM 0x3a00000u
#define MEMORY_PAGES 256u /* a round */

#define LINE 128u
#define TEXT 256u /* a round: each byte may be an exit */

static uint32_t disk, net;
static uint32_t sector, sectors;
static uint16_t disk_seen, net_seen;
static uint16_t port;
static uint32_t memory_at = MEMORY_FROM;
static char line[TEXT];

static struct {
    uint32_t console, disk, failed, net, memory; /* bytes; KiB; requests; frames; KiB */
} done;

static bool is_there(uint32_t id)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (*at(DEVICES + slot * STRIDE + DEVICE_ID) == id)
            return true;
    }
    return false;
}

/* --- The disk: virtio 1.2, 5.2.6 --- */

static void request(uint32_t head)
{
    *at(BUFFER(DISK_QUEUE, head) + 8) = sector;
    sector += REQUEST_BYTES / SECTOR;
    if (sector + REQUEST_BYTES / SECTOR > sectors)
        sector = 0;
    add(DISK_QUEUE, head);
}

static void start_disk(void)
{
    find_device(BLOCK);
    disk = device;
    start_queue(DISK_QUEUE);
    start_driver();
    *at16(AVAIL(DISK_QUEUE)) = 1; /* no interrupts */
    sectors = *at(disk + CONFIG);
    for (uint32_t i = 0; i < DISK_REQUESTS; i++) {
        uint32_t head = i * REQUEST_DESCRIPTORS;
        *at(BUFFER(DISK_QUEUE, head)) = TYPE_OUT;
        *at(BUFFER(DISK_QUEUE, head) + 4) = 0;
        *at(BUFFER(DISK_QUEUE, head) + 12) = 0;
        describe(DISK_QUEUE, head, BUFFER(DISK_QUEUE, head), 16, DESC_NEXT);
        describe(DISK_QUEUE, head + 1, MEMORY_FROM, REQUEST_BYTES, DESC_NEXT);
        describe(DISK_QUEUE, head + 2, BUFFER(DISK_QUEUE, head + 2), 1, DESC_WRITE);
        request(head);
    }
    *at(disk + QUEUE_NOTIFY) = DISK_QUEUE;
}

static void flood_disk(void)
{
    if (disk_seen == *at16(USED(DISK_QUEUE) + 2))
        return;
    while (disk_seen != *at16(USED(DISK_QUEUE) + 2)) {
        uint32_t head = *at(USED(DISK_QUEUE) + 4 + disk_seen++ % QUEUE_SIZE * 8);
        if ((*at(BUFFER(DISK_QUEUE, head + 2)) & 0xff) == 0)
            done.disk += REQUEST_BYTES >> 10;
        else
            done.failed++;
        request(head);
    }
    *at(disk + QUEUE_NOTIFY) = DISK_QUEUE;
}

/* --- The network: UDP from all ports, so that each frame may be a connection --- */

static void put16(uint32_t address, uint16_t value)
{
    *at16(address) = (uint16_t)(value << 8 | value >> 8);
}

static bool take_mac(const char *text, uint8_t mac[6])
{
    for (uint32_t i = 0; i < 12; i++, text++) {
        if (i > 0 && i % 2 == 0 && *text == ':')
            text++;
        uint8_t digit = *text >= '0' && *text <= '9'   ? (uint8_t)(*text - '0')
                        : *text >= 'a' && *text <= 'f' ? (uint8_t)(*text - 'a' + 10)
                                                       : 16;
        if (digit == 16)
            return false;
        mac[i / 2] = (uint8_t)(mac[i / 2] << 4 | digit);
    }
    return true;
}

static void make_frame(uint32_t index, const uint8_t gateway[6])
{
    static const uint8_t mac[] = {0xaa, 0xfc, 0, 0, 0, 1, 0x08, 0x00};
    /* From 10.42.0.2 to 1.1.1.1; the checksum is filled in. */
    static const uint8_t ip[] = {
        0x45, 0, IP_BYTES >> 8, IP_BYTES & 0xff, 0, 0, 0, 0, 64, 17, 0, 0, 10, 42, 0, 2, 1, 1, 1, 1};
    uint8_t *frame = (uint8_t *)BUFFER(NET_TX, index) + NET_HEADER;
    memset(frame - NET_HEADER, 0, NET_HEADER + FRAME);
    memcpy(frame, gateway, 6);
    memcpy(frame + 6, mac, sizeof mac);
    memcpy(frame + 14, ip, sizeof ip);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < sizeof ip; i += 2)
        sum += (uint32_t)ip[i] << 8 | ip[i + 1];
    put16((uint32_t)(uintptr_t)frame + 14 + 10, (uint16_t)~(sum + (sum >> 16)));
    put16((uint32_t)(uintptr_t)frame + 34 + 2, 4433);
    put16((uint32_t)(uintptr_t)frame + 34 + 4, IP_BYTES - 20);
    describe(NET_TX, index, BUFFER(NET_TX, index), NET_HEADER + FRAME, 0);
}

static void send(uint32_t index)
{
    *at16(BUFFER(NET_TX, index) + SOURCE_PORT) = port++;
    add(NET_TX, index);
}

static void start_net(const uint8_t gateway[6])
{
    find_device(NET);
    net = device;
    start_queue(NET_TX);
    start_driver();
    *at16(AVAIL(NET_TX)) = 1;
    for (uint32_t i = 0; i < QUEUE_SIZE; i++) {
        make_frame(i, gateway);
        send(i);
    }
    *at(net + QUEUE_NOTIFY) = NET_TX;
}

static void flood_net(void)
{
    if (net_seen == *at16(USED(NET_TX) + 2))
        return;
    while (net_seen != *at16(USED(NET_TX) + 2)) {
        send(*at(USED(NET_TX) + 4 + net_seen++ % QUEUE_SIZE * 8));
        done.net++;
    }
    *at(net + QUEUE_NOTIFY) = NET_TX;
}

/* --- Console and memory --- */

static void flood_console(void)
{
    const char *from = line;
    uint32_t count = TEXT;
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(CONSOLE_PORT) : "memory");
    done.console += TEXT;
}

static void flood_memory(void)
{
    for (uint32_t i = 0; i < MEMORY_PAGES; i++) {
        *at(memory_at) += 1;
        memory_at = memory_at + 2 * PAGE > memory_end ? MEMORY_FROM : memory_at + PAGE;
    }
    done.memory += MEMORY_PAGES * (PAGE >> 10);
}

/* --- All of it --- */

bool flood_start(const char *mac)
{
    uint8_t gateway[6] = {0};
    if (!is_there(BLOCK) || !is_there(NET) || !take_mac(mac, gateway))
        return false;
    if (disk == 0) {
        memset(line, 'x', sizeof line);
        for (uint32_t i = LINE - 1; i < sizeof line; i += LINE)
            line[i] = '\n';
        start_disk();
        start_net(gateway);
    }
    return true;
}

void flood_round(void)
{
    flood_disk();
    flood_net();
    flood_memory();
    flood_console();
}

void flood_report(struct job *job)
{
    char report[256];
    struct text out = {report, report + sizeof report};
    const struct {
        const char *name;
        uint32_t value;
    } all[] = {{"{\"console\": ", done.console},
               {", \"disk\": ", done.disk},
               {", \"failed\": ", done.failed},
               {", \"network\": ", done.net},
               {", \"memory\": ", done.memory}};
    for (uint32_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        put(&out, all[i].name);
        put_number(&out, all[i].value);
    }
    put(&out, "}\n");
    commands_write(job, report, (size_t)(out.at - report));
}
