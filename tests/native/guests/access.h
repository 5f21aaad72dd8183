/* SPDX-License-Identifier: Apache-2.0 */
/* Access to ports and memory for guests in C. */
#ifndef FORKD_TESTS_GUESTS_ACCESS_H
#define FORKD_TESTS_GUESTS_ACCESS_H

#include <stdint.h>

#define READY_PORT 0x510
#define CONSOLE_PORT 0x3f8
#define VMGENID 0xf0000u

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
