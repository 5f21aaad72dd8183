/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that counts, as fast as it can, into memory, its registers and its disk at once, and checks all
 * that it finds there before it overwrites it: whatever is not of the same instant as the rest, in a branch
 * or in the source, shows within one round. It prints a dot after a few rounds and an E, for good, at the
 * first number that is not the one that it has to be. It says that it is ready at the start, and again when
 * its VM generation id has changed.
 *
 * Flat 32-bit protected mode, no interrupts; the disk is the machine's first, virtio 1.x over MMIO (4.2.2).
 */
#include "guest.h"

#define DISK 0xd0000000u

#define RING 0x400000u /* pages, each with the latest number that fell to it */
#define RING_PAGES 256u
/* Pages that blocks are read into, in turn, and that nobody but the disk writes to. */
#define READ 0x600000u
#define READ_PAGES 8u
#define STEPS_PER_BLOCK 64u
#define DISK_BLOCKS 16u
#define BLOCK_SECTORS 8u
#define BLOCK_WORDS (BLOCK_SECTORS * 128)
#define PAGE 4096u
#define STEPS_PER_DOT 1024u /* one round over the disk, four over the memory */

/* The log is written line by line. */
static void out_line(uint8_t character)
{
    out8(CONSOLE_PORT, character);
    out8(CONSOLE_PORT, '\n');
}

static void fail(void)
{
    out_line('E');
    stop();
}

/* Queue of the disk. */
struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};
static struct descriptor descriptors[4] __attribute__((aligned(16)));
static volatile struct {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[4];
} available __attribute__((aligned(4)));
/* A page that is the device's alone, too. */
static union {
    volatile struct {
        uint16_t flags;
        uint16_t index;
        struct {
            uint32_t id;
            uint32_t length;
        } ring[4];
    };
    uint8_t page[PAGE];
} used __attribute__((aligned(PAGE)));
static struct {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
} header;
static volatile uint32_t block[BLOCK_WORDS];
static volatile uint8_t status;

static uint32_t address_of(const volatile void *pointer)
{
    return (uint32_t)(uintptr_t)pointer;
}

static void disk_start(void)
{
    volatile uint32_t *registers = at(DISK);
    registers[0x70 / 4] = 0;
    registers[0x70 / 4] = 1 | 2; /* ACKNOWLEDGE, DRIVER */
    registers[0x24 / 4] = 1;
    registers[0x20 / 4] = 1; /* VIRTIO_F_VERSION_1 */
    registers[0x70 / 4] = 1 | 2 | 8;
    registers[0x30 / 4] = 0;
    registers[0x38 / 4] = 4;
    registers[0x80 / 4] = address_of(descriptors);
    registers[0x84 / 4] = 0;
    registers[0x90 / 4] = address_of(&available);
    registers[0x94 / 4] = 0;
    registers[0xa0 / 4] = address_of(&used);
    registers[0xa4 / 4] = 0;
    registers[0x44 / 4] = 1;
    registers[0x70 / 4] = 1 | 2 | 8 | 4;
}

/* Read (type 0) or write (type 1) a block. */
static void disk_do(uint32_t type, uint32_t number, uint32_t address)
{
    header.type = type;
    header.sector = number * BLOCK_SECTORS;
    status = 0xff;
    descriptors[0] = (struct descriptor){address_of(&header), sizeof header, 1, 1};
    descriptors[1] = (struct descriptor){address, BLOCK_WORDS * 4, (uint16_t)(type == 0 ? 1 | 2 : 1), 2};
    descriptors[2] = (struct descriptor){address_of(&status), 1, 2, 0};
    uint16_t next = available.index;
    available.ring[next % 4] = 0;
    __asm__ volatile("" : : : "memory");
    available.index = (uint16_t)(next + 1);
    at(DISK)[0x50 / 4] = 0;
    while (used.index != (uint16_t)(next + 1))
        __asm__ volatile("pause");
    if (status != 0)
        fail();
}

/* What was on the disk before that number was. */
static uint32_t before(uint32_t number)
{
    return number > DISK_BLOCKS ? number - DISK_BLOCKS : 0;
}

static void expect(const volatile uint32_t *words, uint32_t number)
{
    if (words[0] != number || words[BLOCK_WORDS - 1] != number)
        fail();
}

static void count_on_disk(uint32_t number)
{
    const volatile uint32_t *page = at(READ + number % READ_PAGES * PAGE);
    expect(page, number > READ_PAGES ? before(number - READ_PAGES) : 0);
    disk_do(0, number % DISK_BLOCKS, address_of(page));
    expect(page, before(number));
    block[0] = number;
    block[BLOCK_WORDS - 1] = number;
    disk_do(1, number % DISK_BLOCKS, address_of(block));
}

void run(uint32_t start_info)
{
    (void)start_info;
    uint32_t generation = *at(VMGENID);
    disk_start();
    for (uint32_t number = 1;; number++) {
        volatile uint32_t *page = at(RING + number % RING_PAGES * PAGE);
        if (*page != (number > RING_PAGES ? number - RING_PAGES : 0))
            fail();
        *page = number;
        if (number % STEPS_PER_BLOCK == 0)
            count_on_disk(number / STEPS_PER_BLOCK);
        if (number == 1 || *at(VMGENID) != generation) {
            generation = *at(VMGENID);
            out8(READY_PORT, 0);
        }
        if (number % STEPS_PER_DOT == 0)
            out_line('.');
    }
}
