/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that writes to its first disk: as many KiB as its command line says before it is ready; and in
 * every child, once that has said so, all the rest, and then all of it again and again, as in every child of
 * a branch of that. It prints a dot for each time, and an E for the first write that fails, after which it
 * writes no more.
 */
#include "guest.h"
#include "virtio.h"

#define COMMAND_LINE 24 /* offset in hvm_start_info */
#define BLOCK 2u
#define SECTOR 512u
#define CHUNK 65536u
#define DATA 0x600000u
#define TYPE_OUT 1u

static uint32_t generation;

/* virtio 1.2, 5.2.6: the header, the data, and the device's answer. */
static int write_chunk(uint32_t sector)
{
    volatile uint8_t *answer = (volatile uint8_t *)(uintptr_t)BUFFER(0, 2);
    static uint16_t seen;
    for (uint32_t at_word = 0; at_word < CHUNK; at_word += SECTOR)
        *at(DATA + at_word) = sector + at_word + 1;
    *at(BUFFER(0, 0)) = TYPE_OUT;
    *at(BUFFER(0, 0) + 8) = sector;
    *at(BUFFER(0, 0) + 12) = 0;
    *answer = 0xff;
    describe(0, 0, BUFFER(0, 0), 16, DESC_NEXT);
    describe(0, 1, DATA, CHUNK, DESC_NEXT);
    describe(0, 2, BUFFER(0, 2), 1, DESC_WRITE);
    offer(0, 0);
    while (*at16(USED(0) + 2) == seen)
        __asm__ volatile("pause");
    seen++;
    if (*at(VMGENID) != generation) {
        generation = *at(VMGENID);
        out8(READY_PORT, 0);
    }
    return *answer == 0;
}

/* Sectors [from, to), in whole chunks; where it stopped. */
static uint32_t write_sectors(uint32_t from, uint32_t to)
{
    uint32_t sector = from;
    while (sector < to && write_chunk(sector))
        sector += CHUNK / SECTOR;
    out8(CONSOLE_PORT, sector < to ? 'E' : '.');
    out8(CONSOLE_PORT, '\n');
    return sector;
}

void run(uint32_t start_info)
{
    const char *text = (const char *)(uintptr_t)*at(start_info + COMMAND_LINE);
    uint32_t kib = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        kib = kib * 10 + (uint32_t)(*text - '0');
    generation = *at(VMGENID);
    find_device(BLOCK);
    start_queue(0);
    start_driver();
    uint32_t done = write_sectors(0, kib * 1024 / SECTOR);
    out8(READY_PORT, 0);
    while (*at(VMGENID) == generation)
        __asm__ volatile("pause");
    generation = *at(VMGENID);
    out8(READY_PORT, 0);
    uint32_t end = *at(device + CONFIG);
    while (write_sectors(done, end) == end)
        done = 0;
    stop();
}
