/* SPDX-License-Identifier: Apache-2.0 */
/* Runs, and never says that it is ready. */
#include "header.inc"
start:
    cli
    hlt
    jmp start
