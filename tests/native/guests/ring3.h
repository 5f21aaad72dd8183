/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For guests that are to be fast: KVM without VMX or SVM emulates all of a guest instruction by instruction,
 * but for 64-bit code in ring 3. So paging, with the first 4 GiB where they are, long mode, and ring 3: the
 * way there is SYSEXIT, which that emulation has.
 */
#ifndef FORKD_TESTS_GUESTS_RING3_H
#define FORKD_TESTS_GUESTS_RING3_H

#include "access.h"

#define TABLES_AT 0x300000u /* six pages */
/* Intel SDM 3A, 4.5: present, writable, for ring 3; a page of 2 MiB. */
#define TABLE 7u
#define LARGE 0x80u

static inline void map_all(void)
{
    for (uint32_t i = 0; i < 6 * 1024; i++)
        *at(TABLES_AT + i * 4) = 0;
    *at(TABLES_AT) = (TABLES_AT + 0x1000) | TABLE;
    for (uint32_t i = 0; i < 4; i++)
        *at(TABLES_AT + 0x1000 + i * 8) = (TABLES_AT + 0x2000 + i * 0x1000) | TABLE;
    for (uint32_t i = 0; i < 4 * 512; i++)
        *at(TABLES_AT + 0x2000 + i * 8) = i << 21 | TABLE | LARGE;
}

/* Go on in 64-bit code, without a stack, and `argument` in rbx. */
static inline void enter_ring3(void (*code)(void), const volatile void *argument)
{
    /* SYSEXIT takes its segments from 32 and 40 bytes behind the one that the MSR names, which is 64-bit
     * code. */
    static const uint64_t segments[] __attribute__((aligned(8))) = {
        0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0, 0, 0x00affb000000ffff, 0x00cff3000000ffff};
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } table = {sizeof segments - 1, (uint32_t)(uintptr_t)segments};
    map_all();
    __asm__ volatile("lgdt %0\n"
                     "movl %%cr4, %%eax\n orl $0x20, %%eax\n movl %%eax, %%cr4\n" /* PAE */
                     "movl %1, %%eax\n movl %%eax, %%cr3\n"
                     "movl $0xc0000080, %%ecx\n rdmsr\n orl $0x100, %%eax\n wrmsr\n" /* EFER.LME */
                     "movl %%cr0, %%eax\n orl $0x80000000, %%eax\n movl %%eax, %%cr0\n"
                     "movl $0x174, %%ecx\n movl $0x10, %%eax\n xorl %%edx, %%edx\n wrmsr\n" /* SYSENTER_CS */
                     "ljmp $0x10, $1f\n"
                     ".code64\n"
                     "1: movl %%esi, %%edx\n xorl %%ecx, %%ecx\n movl %%ebx, %%ebx\n"
                     ".byte 0x48, 0x0f, 0x35\n" /* sysexit, to 64-bit code */
                     ".code32\n"
                     :
                     : "m"(table), "i"(TABLES_AT), "S"(code), "b"(argument)
                     : "eax", "ecx", "edx", "memory", "cc");
    __builtin_unreachable();
}

#endif
