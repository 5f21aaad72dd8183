/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian integers of 1 to 8 bytes in files, at any alignment. */
#ifndef FORKD_BASE_BYTES_H
#define FORKD_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline void bytes_store(uint8_t *at, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static inline uint64_t bytes_load(const uint8_t *at, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

#endif
