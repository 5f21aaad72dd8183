/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines, in milliseconds of CLOCK_MONOTONIC, and the sleep that boot code waits with. */
#ifndef FORKD_GUEST_CLOCK_H
#define FORKD_GUEST_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_NEVER INT64_MAX

static inline int64_t clock_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A timeout in seconds as a deadline; anything too large to count is no deadline. */
static inline int64_t clock_deadline(double seconds)
{
    if (!(seconds < 1e12))
        return CLOCK_NEVER;
    return clock_now_ms() + (seconds > 0 ? (int64_t)(seconds * 1000) : 0);
}

/* What poll(2) wants; rounded so that it never returns just before the deadline and spins. */
static inline int clock_poll_timeout(int64_t deadline)
{
    if (deadline == CLOCK_NEVER)
        return -1;
    int64_t left = deadline - clock_now_ms();
    if (left <= 0)
        return 0;
    return left >= INT_MAX ? INT_MAX : (int)left + 1;
}

static inline void clock_sleep_ms(int milliseconds)
{
    struct timespec pause = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L};
    nanosleep(&pause, NULL);
}

#endif
