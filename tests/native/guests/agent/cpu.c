/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#include "../access.h"

#include <stdbool.h>

/* Intel SDM 3A, 11; the places are platform.h's. */
#define IOAPIC 0xfec00000u
#define IOAPIC_DATA 0x10u
#define IOAPIC_ENTRY(gsi) (0x10u + 2 * (gsi))
#define LAPIC 0xfee00000u
#define LAPIC_EOI 0x0b0u
#define LAPIC_SPURIOUS 0x0f0u
#define LAPIC_TIMER 0x320u
#define LAPIC_INITIAL 0x380u
#define LAPIC_CURRENT 0x390u
#define LAPIC_DIVIDE 0x3e0u
#define DIVIDE_BY_1 0xbu
#define DIVIDE_BY_128 0xau
#define MASKED 0x10000u
#define DEVICE_VECTOR 0x40u
#define TIMER_VECTOR 0x41u

/* KVM's timer of the LAPIC counts nanoseconds (APIC_BUS_CYCLE_NS). */
#define TIMER_PER_MS 1000000u
#define TIMER_MOST_MS 100000u
#define MEASURED_MS 5u

#define SLEEP_PORT 0x600
#define SLEEP_S5 0x34 /* type 5 << 2 | enable */

static uint32_t khz;
static bool timer_set;

/* The handler goes back without iret, which emulators of protected mode may lack: interrupts are off again,
 * and of the registers it uses only what cpu_wait gives away. */
void handler(void);
__asm__(".text\n"
        "handler:\n"
        "movl (%esp), %eax\n"
        "addl $12, %esp\n"
        "jmp *%eax\n");

struct table {
    uint16_t limit;
    uint32_t address;
} __attribute__((packed));

static void set_gates(void)
{
    static const uint64_t segments[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
    static uint64_t gates[TIMER_VECTOR + 1];
    uint32_t address = (uint32_t)(uintptr_t)handler;
    gates[DEVICE_VECTOR] = (uint64_t)(address >> 16) << 48 | 0x8e0000080000 | (address & 0xffff);
    gates[TIMER_VECTOR] = gates[DEVICE_VECTOR];
    struct table gdt = {sizeof segments - 1, (uint32_t)(uintptr_t)segments};
    struct table idt = {sizeof gates - 1, (uint32_t)(uintptr_t)gates};
    __asm__ volatile("lgdt %0\n lidt %1\n ljmp $8, $1f\n 1:\n mov %2, %%ds\n mov %2, %%es\n mov %2, %%ss\n"
                     :
                     : "m"(gdt), "m"(idt), "r"(16)
                     : "memory");
}

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
    set_gates();
    *at(LAPIC + LAPIC_SPURIOUS) = 0x1ff;
    *at(IOAPIC) = IOAPIC_ENTRY(gsi) + 1;
    *at(IOAPIC + IOAPIC_DATA) = 0;
    *at(IOAPIC) = IOAPIC_ENTRY(gsi);
    *at(IOAPIC + IOAPIC_DATA) = DEVICE_VECTOR; /* fixed, edge, to the first CPU */
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
