/* SPDX-License-Identifier: Apache-2.0 */
/* Says that it is ready, writes a line to the console, and powers off by the ACPI sleep register. */
#include "header.inc"
start:
    movw $0x510, %dx
    outb %al, %dx
    movw $0x3f8, %dx
    movl $text, %esi
    movl $text_end - text, %ecx
    rep outsb
    movw $0x600, %dx
    movb $0x34, %al /* type 5 << 2 | enable */
    outb %al, %dx
halt:
    hlt
    jmp halt
text:
    .ascii "hello from the guest\n"
text_end:
