/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/tsc.h"

#include <errno.h>
#include <stdbool.h>

#define MILLION 1000000u
/* KVM's default for its parameter tsc_tolerance_ppm: so near to the host's frequency nothing is scaled. */
#define TOLERANCE_PPM 250u

static bool within_tolerance(uint32_t guest_khz, uint32_t host_khz)
{
    uint64_t lowest = (uint64_t)host_khz * (MILLION - TOLERANCE_PPM) / MILLION;
    uint64_t highest = (uint64_t)host_khz * (MILLION + TOLERANCE_PPM) / MILLION;
    return guest_khz >= lowest && guest_khz <= highest;
}

int tsc_rate(struct tsc_rate *rate, const struct kvm_host *host, uint32_t guest_khz, struct forkd_error *err)
{
    *rate = (struct tsc_rate){.ratio = 1};
    if (guest_khz == 0 || host->tsc_khz == 0 || within_tolerance(guest_khz, host->tsc_khz))
        return 0;
    if (host->tsc_fraction_bits == 0)
        return error_set(err, ENOTSUP, "check", "host",
                         "the guest's TSC runs at %u kHz, this host's at %u kHz, and its KVM cannot scale it "
                         "(KVM_CAP_TSC_CONTROL)",
                         guest_khz, host->tsc_khz);
    rate->fraction_bits = host->tsc_fraction_bits;
    rate->ratio = (uint64_t)(((unsigned __int128)guest_khz << rate->fraction_bits) / host->tsc_khz);
    return 0;
}

uint64_t tsc_scale(const struct tsc_rate *rate, uint64_t host_tsc)
{
    return (uint64_t)((unsigned __int128)host_tsc * rate->ratio >> rate->fraction_bits);
}

uint64_t tsc_offset_for(const struct tsc_rate *rate, uint32_t guest_khz, uint64_t then, uint64_t elapsed_ns,
                        uint64_t host_tsc)
{
    uint64_t elapsed_cycles = (uint64_t)((unsigned __int128)elapsed_ns * guest_khz / MILLION);
    return then + elapsed_cycles - tsc_scale(rate, host_tsc);
}
