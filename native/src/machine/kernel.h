/* SPDX-License-Identifier: Apache-2.0 */
/* Loading a kernel: ELF vmlinux by PVH or by the 64-bit boot protocol, and bzImage. */
#ifndef FORKD_MACHINE_KERNEL_H
#define FORKD_MACHINE_KERNEL_H

#include "base/error.h"
#include "base/guest_memory.h"

#include <linux/kvm.h>
#include <stdbool.h>

struct kernel_entry {
    uint64_t address;
    bool long_mode; /* the 64-bit boot protocol; otherwise PVH: 32-bit, paging off */
    bool is_linux;  /* by its format, or by what an ELF file's notes say; an ELF file without PVH's counts as
                       one */
};

/*
 * Load kernel, initrd (fd -1: none) and command line into fresh guest memory, with the boot information that
 * the entry point expects. Errors: -ENOEXEC no known format, or damaged; -ENOMEM it does not fit.
 */
int kernel_load(const struct guest_memory *memory, int kernel_fd, int initrd_fd, const char *command_line,
                struct kernel_entry *entry, struct forkd_error *err);

/* The first vCPU's registers at the entry; `sregs` comes in as KVM made it. Writes page tables and a GDT. */
int kernel_set_entry(const struct guest_memory *memory, const struct kernel_entry *entry,
                     struct kvm_regs *regs, struct kvm_sregs *sregs, struct forkd_error *err);

#endif
