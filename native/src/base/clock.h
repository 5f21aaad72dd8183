/* SPDX-License-Identifier: Apache-2.0 */
/* The clock that only goes forward (CLOCK_MONOTONIC). */
#ifndef FORKD_BASE_CLOCK_H
#define FORKD_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_now_us(void)
{
    return clock_now_ns() / 1000u;
}

static inline int64_t clock_now_ms(void)
{
    return (int64_t)(clock_now_us() / 1000u);
}

#endif
