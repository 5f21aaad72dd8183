/* SPDX-License-Identifier: Apache-2.0 */
/* Halts for good; says of itself, by a note as Linux has them, that it is Linux. */
#include "header.inc"
start:
    cli
    hlt
    jmp start
    .section .note.pvh, "a", @note
    .long 6, 0, 0x100 /* name size, value size, LINUX_ELFNOTE_BUILD_SALT */
    .asciz "Linux"
    .balign 4
