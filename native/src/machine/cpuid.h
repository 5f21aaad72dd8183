/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_MACHINE_CPUID_H
#define FORKD_MACHINE_CPUID_H

#include "base/error.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Make the CPUID of one vCPU out of what KVM supports: its APIC id, the topology (one socket, one thread a
 * core), and without what would not survive a restore; with `baseline`, without what not every host of the
 * vendor has, too. *out is allocated with malloc and becomes the
 * caller's.
 */
int cpuid_for_vcpu(struct kvm_cpuid2 **out, const struct kvm_cpuid2 *supported, uint32_t vcpu,
                   uint32_t vcpu_count, bool baseline, struct forkd_error *err);

#endif
