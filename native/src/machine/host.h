/* SPDX-License-Identifier: Apache-2.0 */
/* What a snapshot was made on, and whether this host will do for it. */
#ifndef FORKD_MACHINE_HOST_H
#define FORKD_MACHINE_HOST_H

#include "machine/kvm.h"
#include "machine/vcpu.h"
#include "snapshot/vmstate.h"

#include <stdint.h>

#define HOST_SECTION "host"

struct host_record {
    uint32_t flavour;   /* enum host_flavour */
    uint32_t signature; /* family, model, stepping as in CPUID leaf 1 */
    char vendor[13];    /* "GenuineIntel", "AuthenticAMD", ... */
};

void host_identify(struct host_record *record);

/* The section "host". */
void host_save(const struct host_record *record, struct vmstate_writer *writer);
int host_load(struct host_record *record, const struct vmstate_reader *reader, struct forkd_error *err);

/*
 * Refuse (-ENOTSUP) a vCPU that relies on what this host lacks, by name. `host` was opened with its CPUID.
 */
int host_check(const struct host_record *record, const struct vcpu_state *vcpu, const struct kvm_host *host,
               struct forkd_error *err);

#endif
