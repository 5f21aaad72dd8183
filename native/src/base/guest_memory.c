/* SPDX-License-Identifier: Apache-2.0 */
#include "base/guest_memory.h"

#include <stddef.h>

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
