/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest may have come to rely on: the feature bits of CPUID, with the names that Linux shows in
 * /proc/cpuinfo. And the templates, which leave out of CPUID what not every host of a vendor has.
 */
#ifndef FORKD_MACHINE_FEATURES_H
#define FORKD_MACHINE_FEATURES_H

#include "base/error.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest list of names that features_missing writes. */
#define FEATURES_TEXT_SIZE 512

/*
 * Compare what a guest sees with what this host supports. Returns how many features are missing here, and
 * names the first of them in `text`. `hardware_too`: what the processor itself has counts as supported, as
 * for a KVM that cannot keep its guests from seeing that.
 */
uint32_t features_missing(const struct kvm_cpuid2 *guest, const struct kvm_cpuid2 *supported,
                          bool hardware_too, char *text, size_t size);

/* The vendor of leaf 0: 12 characters and a NUL. */
void features_vendor(const struct kvm_cpuid2 *cpuid, char vendor[13]);

/* One feature register; 0 where there is no such leaf. */
uint32_t features_get(const struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index, char reg);

/* Leave nothing in `cpuid` but the baseline of its vendor. -ENOTSUP: there is none for it. */
int features_apply_baseline(struct kvm_cpuid2 *cpuid, struct forkd_error *err);

#endif
