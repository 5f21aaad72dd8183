/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the keyboard controller for a reset, as Linux does with reboot=k. */
#include "header.inc"
start:
    movw $0x64, %dx
    movb $0xfe, %al
    outb %al, %dx
halt:
    hlt
    jmp halt
