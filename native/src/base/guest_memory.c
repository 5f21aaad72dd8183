/* SPDX-License-Identifier: Apache-2.0 */
#include "base/guest_memory.h"

#include <stddef.h>
#include <sys/mman.h>

uint64_t guest_memory_low(const struct guest_memory *memory)
{
    return memory->size < GUEST_HOLE_START ? memory->size : GUEST_HOLE_START;
}

uint64_t guest_memory_high(const struct guest_memory *memory)
{
    return memory->size - guest_memory_low(memory);
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t address, uint64_t length)
{
    uint64_t low = guest_memory_low(memory);
    uint64_t offset = address;
    uint64_t end = low;
    if (address >= GUEST_HOLE_END) {
        offset = address - GUEST_HOLE_END + low;
        /* A wrapped offset would pass the check below: addresses near 2^64. */
        if (offset < low)
            return NULL;
        end = memory->size;
    }
    if (length == 0 || offset >= end || length > end - offset)
        return NULL;
    return memory->host + offset;
}

void guest_memory_note(const struct guest_memory *memory, const void *at, uint64_t length)
{
    if (memory->noted == NULL || length == 0)
        return;
    uint64_t offset = (uint64_t)((const uint8_t *)at - memory->host);
    for (uint64_t page = offset / GUEST_PAGE_SIZE; page <= (offset + length - 1) / GUEST_PAGE_SIZE; page++)
        memory->noted[page / 64] |= 1ull << page % 64;
}

#define PART_BYTES (128ull << 20) /* of less a small guest has too many: one more takes a child 3 us */
#define MOST_PARTS 32u

uint64_t guest_memory_part(const struct guest_memory *memory)
{
    uint64_t part = PART_BYTES;
    while (memory->size / part > MOST_PARTS)
        part *= 2;
    return part;
}

void guest_memory_divide(const struct guest_memory *memory)
{
    uint64_t part = guest_memory_part(memory);
    /* Neighbours that are alike are one mapping: so every second one is marked, as what no core dump has. */
    for (uint64_t at = part; at < memory->size; at += 2 * part) {
        uint64_t length = memory->size - at < part ? memory->size - at : part;
        (void)madvise(memory->host + at, length, MADV_DONTDUMP); /* or it stays in one */
    }
}
