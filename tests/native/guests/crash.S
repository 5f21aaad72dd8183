/* SPDX-License-Identifier: Apache-2.0 */
/* A triple fault: an undefined instruction with no interrupt table. */
#include "header.inc"
start:
    ud2
