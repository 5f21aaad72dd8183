/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#include "../interrupts.h"

#include <stdbool.h>

/* Intel SDM 3A, 11. */
#define LAPIC_TIMER 0x320u
#define LAPIC_INITIAL 0x380u
#define LAPIC_CURRENT 0x390u
#define LAPIC_DIVIDE 0x3e0u
#define DIVIDE_BY_1 0xbu
#define DIVIDE_BY_128 0xau
#define MASKED 0x10000u

/* KVM's timer of the LAPIC counts nanoseconds (APIC_BUS_CYCLE_NS). */
#define TIMER_PER_MS 1000000u
#define TIMER_MOST_MS 100000u
#define MEASURED_MS 5u

#define SLEEP_PORT 0x600
#define SLEEP_S5 0x34 /* type 5 << 2 | enable */

static uint32_t khz;
static bool timer_set;

static void measure_rate(void)
{
    *at(LAPIC + LAPIC_TIMER) = MASKED;
    *at(LAPIC + LAPIC_DIVIDE) = DIVIDE_BY_1;
    *at(LAPIC + LAPIC_INITIAL) = UINT32_MAX;
    uint64_t start = cpu_now();
    while (*at(LAPIC + LAPIC_CURRENT) > UINT32_MAX - MEASURED_MS * TIMER_PER_MS) {
    }
    khz = (uint32_t)(cpu_now() - start) / MEASURED_MS;
    *at(LAPIC + LAPIC_INITIAL) = 0;
}

void cpu_start(uint32_t gsi)
{
    interrupts_start(gsi);
    measure_rate();
    *at(LAPIC + LAPIC_DIVIDE) = DIVIDE_BY_128;
    *at(LAPIC + LAPIC_TIMER) = TIMER_VECTOR;
}

void cpu_set_rate(uint32_t rate)
{
    if (rate != 0)
        khz = rate;
}

uint64_t cpu_now(void)
{
    uint64_t now;
    __asm__ volatile("rdtsc" : "=A"(now));
    return now;
}

uint64_t cpu_after(uint32_t ms)
{
    return ms == UINT32_MAX ? NEVER : cpu_now() + (uint64_t)ms * khz;
}

/* At the deadline or a little later; at one that is far, early: who waits looks again. */
static uint32_t timer_count(uint64_t deadline)
{
    uint64_t now = cpu_now();
    if (deadline <= now)
        return 1;
    uint64_t left = deadline - now;
    uint32_t ms = TIMER_MOST_MS;
    if (left < (uint64_t)TIMER_MOST_MS * khz) {
        uint32_t rest = (uint32_t)(left >> 32);
        ms = (uint32_t)left;
        __asm__("divl %2" : "+a"(ms), "+d"(rest) : "r"(khz) : "cc");
        ms++;
    }
    return ms * (TIMER_PER_MS / 128 + 1);
}

void cpu_wait(uint64_t deadline)
{
    if (deadline != NEVER)
        *at(LAPIC + LAPIC_INITIAL) = timer_count(deadline);
    else if (timer_set)
        *at(LAPIC + LAPIC_INITIAL) = 0;
    timer_set = deadline != NEVER;
    __asm__ volatile("sti\n hlt\n" : : : "eax", "cc", "memory");
    *at(LAPIC + LAPIC_EOI) = 0;
}

_Noreturn void cpu_power_off(void)
{
    out8(SLEEP_PORT, SLEEP_S5);
    for (;;)
        stop();
}

/* An undefined instruction with no interrupt table. */
_Noreturn void cpu_crash(void)
{
    struct table none = {0, 0};
    __asm__ volatile("lidt %0\n ud2" : : "m"(none));
    __builtin_unreachable();
}
