/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that grow. */
#ifndef FORKD_BASE_ARRAY_H
#define FORKD_BASE_ARRAY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/*
 * Room for `needed` elements of `size` bytes: where the array is now, which may be elsewhere; or NULL, there
 * is no memory, and it stays where it was. *capacity is what it has room for; 0, and `items` NULL, at first.
 */
static inline void *array_room(void *items, uint64_t needed, uint64_t *capacity, size_t size)
{
    if (needed <= *capacity)
        return items;
    /* Doubled, so that a copy is made of each element only now and then. */
    uint64_t larger = *capacity < 32 ? 64 : 2 * *capacity;
    if (larger < needed)
        larger = needed;
    size_t bytes;
    void *moved = __builtin_mul_overflow(larger, size, &bytes) ? NULL : realloc(items, bytes);
    if (moved != NULL)
        *capacity = larger;
    return moved;
}

#endif
