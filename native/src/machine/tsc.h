/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's TSC as KVM makes it: the host's times a ratio, plus an offset (KVM_VCPU_TSC_OFFSET).
 * Documentation/virt/kvm/devices/vcpu.rst, 4.1, leaves the ratio out, and is right only where both run alike.
 */
#ifndef FORKD_MACHINE_TSC_H
#define FORKD_MACHINE_TSC_H

#include "machine/kvm.h"

#include <stdint.h>

struct tsc_rate {
    uint64_t ratio;
    uint32_t fraction_bits; /* of the ratio */
};

/*
 * The rate at which this host's KVM runs a vCPU that was given `guest_khz` with KVM_SET_TSC_KHZ. -ENOTSUP:
 * another than its own, and it cannot scale. (KVM would have the TSC jump at each exit; or stand behind for
 * ever.)
 */
int tsc_rate(struct tsc_rate *rate, const struct kvm_host *host, uint32_t guest_khz, struct forkd_error *err);
/* What KVM adds the offset to. */
uint64_t tsc_scale(const struct tsc_rate *rate, uint64_t host_tsc);
/* The offset with which the guest reads `then` + `elapsed_ns` when the host reads `host_tsc`. */
uint64_t tsc_offset_for(const struct tsc_rate *rate, uint32_t guest_khz, uint64_t then, uint64_t elapsed_ns,
                        uint64_t host_tsc);

#endif
