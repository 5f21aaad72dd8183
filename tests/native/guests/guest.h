/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guests in C begin with: the note that makes PVH start them (flat 32-bit protected mode, paging and
 * interrupts off), and a stack; in one source of each. `run` gets hvm_start_info's address.
 */
#ifndef FORKD_TESTS_GUESTS_GUEST_H
#define FORKD_TESTS_GUESTS_GUEST_H

#include "access.h"

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

#endif
