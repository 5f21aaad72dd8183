/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that in every child reads its memory from 16 MiB up, again and again, in the way that its command
 * line names: '1' in 64-bit code with interrupts on, '0' in the same with interrupts off, 'e' in 32-bit code,
 * which KVM without VMX or SVM emulates. It takes no interrupts.
 */
#include "guest.h"
#include "ring3.h"

#define FIRST 0x1000000u
#define END 0x3000000u
#define PAGE 4096u
#define COMMAND_LINE 24 /* offset in hvm_start_info */
#define STRING_OF(value) #value
#define STRING(value) STRING_OF(value)

void read_for_ever(void);

__asm__(".code64\n"
        "read_for_ever:\n"
        "movl $" STRING(FIRST) ", %eax\n"
                               "1: movb (%rax), %cl\n"
                               "addl $" STRING(PAGE) ", %eax\n"
                                                     "cmpl $" STRING(END) ", %eax\n"
                                                                          "jb 1b\n"
                                                                          "jmp read_for_ever\n"
                                                                          ".code32\n");

void run(uint32_t start_info)
{
    char way = *(const char *)(uintptr_t)*at(start_info + COMMAND_LINE);
    for (uint32_t address = FIRST; address < END; address += PAGE)
        *at(address) = address;
    uint32_t known = *at(VMGENID);
    out8(READY_PORT, 0);
    while (*at(VMGENID) == known)
        __asm__ volatile("pause");
    out8(READY_PORT, 0);
    while (way == 'e')
        for (uint32_t address = FIRST; address < END; address += PAGE)
            (void)*at(address);
    if (way == '1')
        __asm__ volatile("sti");
    enter_ring3(read_for_ever, at(0));
}
