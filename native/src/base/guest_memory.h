/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM: one host mapping, seen by the guest in two parts around the hole below 4 GiB. */
#ifndef FORKD_BASE_GUEST_MEMORY_H
#define FORKD_BASE_GUEST_MEMORY_H

#include "base/error.h"

#include <stdint.h>

#define GUEST_PAGE_SIZE 4096u
#define GUEST_MEMORY_MIN (64ull << 20)
/* RAM ends here and goes on at 4 GiB; between them are the devices and the interrupt controllers. */
#define GUEST_HOLE_START 0xc0000000ull
#define GUEST_HOLE_END 0x100000000ull

struct guest_memory {
    uint8_t *host;   /* the start of the mapping; offset in it = offset in memory.bin */
    uint64_t size;   /* bytes */
    uint64_t *noted; /* a bit for each page that devices have got to write to; NULL: nobody wants to know */
};

/*
 * What KVM's log of dirty pages does not see: devices write to these bytes, or may from now on. With the VM's
 * lock held.
 */
void guest_memory_note(const struct guest_memory *memory, const void *at, uint64_t length);

/*
 * The only place where a guest address becomes a pointer. NULL unless [address, address + length) lies wholly
 * in RAM and does not cross the hole; length 0 is refused too.
 */
void *guest_memory_at(const struct guest_memory *memory, uint64_t address, uint64_t length);

/*
 * Have the kernel keep the mapping in parts. fork(2) copies the page tables of every mapping that has at
 * least one private page, clean pages as well: so a branch pays for the parts that were written to, not for
 * all that was ever read. Before anything is written, since parts of a mapping that has been written to count
 * as such; and after KVM_CREATE_VM, to which each mapping is 1.2 us.
 */
void guest_memory_divide(const struct guest_memory *memory);
/* Bytes of each part but the last. */
uint64_t guest_memory_part(const struct guest_memory *memory);

/* Bytes of RAM below the hole, and from 4 GiB up. */
uint64_t guest_memory_low(const struct guest_memory *memory);
uint64_t guest_memory_high(const struct guest_memory *memory);

#endif
