/* SPDX-License-Identifier: Apache-2.0 */
/* One vCPU: its KVM object, and its state as a snapshot keeps it. */
#ifndef FORKD_MACHINE_VCPU_H
#define FORKD_MACHINE_VCPU_H

#include "machine/kvm.h"
#include "snapshot/vmstate.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define VCPU_SECTION "vcpu"

struct vcpu_state {
    struct kvm_cpuid2 *cpuid;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_lapic_state lapic;
    struct kvm_mp_state mp_state;
    struct kvm_vcpu_events events;
    uint32_t tsc_khz;
    uint64_t tsc;        /* guest TSC, for hosts without KVM_VCPU_TSC_OFFSET */
    uint64_t tsc_offset; /* KVM's; once saved: guest TSC - host TSC when the clock was read (machine_save) */
    struct kvm_msrs *msrs;
    struct kvm_xsave *xsave; /* xsave_size bytes */
    uint32_t xsave_size;
    /* Made by vcpu_state_prepare, of what was loaded: */
    struct kvm_msrs *timeless_msrs; /* all but those of time, and nothing that need not be set */
    struct kvm_msrs *time_msrs;     /* whose meaning depends on when they are set */
    bool has_kvmclock;              /* the guest uses it */
    bool has_lapic_timer;           /* one that counts by itself: it starts with the LAPIC's state */
};

struct machine;

struct vcpu {
    struct machine *machine;
    uint32_t index;
    int fd;
    struct kvm_run *run;
    pthread_t thread;        /* the first has the process's first */
    bool started;            /* the thread exists */
    bool ran;                /* the guest has run, so that there may be an exit to complete */
    bool parked;             /* waits in machine_pause; guarded by the machine's lock */
    struct kvm_regs at_tick; /* where it was when it was last made to tell, or not (run.c) */
    bool made_to_tell;
};

int vcpu_create(struct vcpu *vcpu, struct machine *machine, uint32_t index, int vm_fd,
                const struct kvm_host *host, struct forkd_error *err);
void vcpu_close(struct vcpu *vcpu, const struct kvm_host *host);

/* Read everything out of KVM. The vCPU must not run, and its last exit must be completed. */
int vcpu_get_state(const struct vcpu *vcpu, const struct kvm_host *host, struct vcpu_state *state,
                   struct forkd_error *err);
/* What the guest sees of the processor; before anything else of the state, which depends on it. */
int vcpu_set_cpuid(const struct vcpu *vcpu, const struct kvm_host *host, const struct vcpu_state *state,
                   struct forkd_error *err);
/* Put in what does not depend on when that happens. */
int vcpu_set_state(const struct vcpu *vcpu, const struct vcpu_state *state, struct forkd_error *err);
/* Whether a vCPU that has run can be given this state as well as a new one: -ENOTSUP, with the name of an MSR
 * that it has and that the state says nothing of. */
int vcpu_check_reset(const struct vcpu *vcpu, const struct kvm_host *host, const struct vcpu_state *state,
                     struct forkd_error *err);
/* Of a vCPU that has run, and stands: what no state replaces is as in a new one. Then comes vcpu_set_state.
 */
int vcpu_reset(const struct vcpu *vcpu, struct forkd_error *err);
/* Put in the rest: TSC and timers. `tsc_offset` is the one for this host (see
 * machine_restore), used where the host can set it. */
int vcpu_set_time(const struct vcpu *vcpu, const struct kvm_host *host, const struct vcpu_state *state,
                  uint64_t tsc_offset, struct forkd_error *err);
/* Tell the guest's watchdogs that it stood still, if it has KVM's clock. The vCPU must not run, nor below. */
void vcpu_tell_stopped(const struct vcpu *vcpu);
/* Whether it waits for an interrupt, or to be started. */
bool vcpu_is_halted(const struct vcpu *vcpu);
/* Have KVM's page tables know memory that the process has: false when it does not go on, for whatever reason,
 * and the guest takes its faults. Not with shadow pages. The vCPU must not run. */
bool vcpu_prefault(const struct vcpu *vcpu, uint64_t address, uint64_t length);
/* What the guest would read of its TSC now. The vCPU must not run. */
int vcpu_get_tsc(const struct vcpu *vcpu, uint64_t *tsc, struct forkd_error *err);
void vcpu_state_free(struct vcpu_state *state);

/* run.c: get the vCPU out of the guest, to look at machine->paused and ->end. */
void vcpu_kick(struct vcpu *vcpu);

/* The section "vcpu", instance = index. */
void vcpu_state_save(const struct vcpu_state *state, uint32_t index, struct vmstate_writer *writer);
int vcpu_state_load(struct vcpu_state *state, uint32_t index, const struct vmstate_reader *reader,
                    struct forkd_error *err);
/* Work out, once for all children, what each of them will put in on this host. */
int vcpu_state_prepare(struct vcpu_state *state, const struct kvm_host *host, struct forkd_error *err);

#endif
