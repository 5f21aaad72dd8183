/* SPDX-License-Identifier: Apache-2.0 */
/* The processor's part: interrupts, a halt that one of them or a deadline ends, and time. */
#ifndef FORKD_TESTS_GUESTS_AGENT_CPU_H
#define FORKD_TESTS_GUESTS_AGENT_CPU_H

#include <stdint.h>

#define NOW 0u
#define NEVER UINT64_MAX

static inline uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void cpu_start(uint32_t gsi);
/* Of the TSC; until it is told better, as it was measured. */
void cpu_set_rate(uint32_t khz);
uint64_t cpu_now(void);
/* So many milliseconds from now. UINT32_MAX is for ever. */
uint64_t cpu_after(uint32_t ms);
/* Halt until an interrupt or `deadline`. Interrupts are off before and after. */
void cpu_wait(uint64_t deadline);
_Noreturn void cpu_power_off(void);
_Noreturn void cpu_crash(void);

#endif
