/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guests in C begin with: the note that makes PVH start them (flat 32-bit protected mode, paging and
 * interrupts off), a stack, and access to ports and memory. `run` gets hvm_start_info's address.
 */
#ifndef FORKD_TESTS_GUESTS_GUEST_H
#define FORKD_TESTS_GUESTS_GUEST_H

#include <stdint.h>

#define READY_PORT 0x510
#define CONSOLE_PORT 0x3f8
#define VMGENID 0xf0000u

void run(uint32_t start_info);

__asm__(".section .note.pvh, \"a\", @note\n"
        ".long 4, 4, 18\n"
        ".asciz \"Xen\"\n"
        ".long start\n"
        ".text\n"
        ".globl start\n"
        "start:\n"
        "movl $0x3f0000, %esp\n"
        "pushl %ebx\n"
        "call run\n");

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline volatile uint32_t *at(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

static inline void stop(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

#endif
