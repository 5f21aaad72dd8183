/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts for guests in C, of one device and of the local APIC's timer. It holds code: for one source of a
 * guest. */
#ifndef FORKD_TESTS_GUESTS_INTERRUPTS_H
#define FORKD_TESTS_GUESTS_INTERRUPTS_H

#include "access.h"

/* Where the interrupt controllers are, and how a device's interrupt comes: platform.h, Intel SDM 3A, 11. */
#define IOAPIC 0xfec00000u
#define IOAPIC_DATA 0x10u
#define IOAPIC_ENTRY(gsi) (0x10u + 2 * (gsi))
#define LAPIC 0xfee00000u
#define LAPIC_EOI 0x0b0u
#define LAPIC_SPURIOUS 0x0f0u
#define DEVICE_VECTOR 0x40u
#define TIMER_VECTOR 0x41u

/* The handler goes back without iret, which emulators of protected mode may lack: interrupts are off again,
 * and of the registers it uses only what who waits with hlt gives away. */
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

/* From now on that interrupt of a device comes, with DEVICE_VECTOR. */
static void interrupts_start(uint32_t gsi)
{
    set_gates();
    *at(LAPIC + LAPIC_SPURIOUS) = 0x1ff;
    *at(IOAPIC) = IOAPIC_ENTRY(gsi) + 1;
    *at(IOAPIC + IOAPIC_DATA) = 0;
    *at(IOAPIC) = IOAPIC_ENTRY(gsi);
    *at(IOAPIC + IOAPIC_DATA) = DEVICE_VECTOR; /* fixed, edge, to the first CPU */
}

#endif
