/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest without an agent, for tests and benchmarks on any KVM, the page-table flavour too (where every
 * instruction of this is emulated). It fills memory, says that it is ready, waits until its VM generation id
 * changes (so: in every child), says so again, and halts for good.
 *
 * The fill: every page from 2 MiB up to the end of the memory map's last low entry gets its own address written
 * into its first four bytes, so that tests can tell which page they look at.
 */
#define READY_PORT 0x510
#define VMGENID 0xf0000
#define FILL_START 0x200000

#include "header.inc"
start:
    jmp boot
    .org 16
    /* At 1 MiB + 16, with nothing set up but flat segments: where bench/floor.c starts its children. */
resume:
    movw $READY_PORT, %dx
    outb %al, %dx
    jmp halt
boot:
    /* hvm_start_info: the memory map's address at 40, its length at 48; entries of 24 bytes. The fifth is the RAM
       from 1 MiB (see machine/kernel.c). */
    movl 40(%ebx), %esi
    movl 4*24(%esi), %edi
    addl 4*24+8(%esi), %edi
    movl $FILL_START, %eax
fill:
    cmpl %edi, %eax
    jae filled
    movl %eax, (%eax)
    addl $4096, %eax
    jmp fill
filled:
    movl VMGENID, %ecx
    movw $READY_PORT, %dx
    outb %al, %dx
wait:
    pause
    cmpl VMGENID, %ecx
    je wait
    outb %al, %dx
halt:
    cli
    hlt
    jmp halt
