/* SPDX-License-Identifier: Apache-2.0 */
/* What this host's KVM offers, found out once; and the one place where KVM ioctls are made. */
#ifndef FORKD_MACHINE_KVM_H
#define FORKD_MACHINE_KVM_H

#include "base/error.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef KVM_PRE_FAULT_MEMORY /* of Linux 6.11 */
#define KVM_CAP_PRE_FAULT_MEMORY 236
#define KVM_PRE_FAULT_MEMORY _IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
struct kvm_pre_fault_memory {
    uint64_t gpa;
    uint64_t size;
    uint64_t flags;
    uint64_t padding[5];
};
#endif

#define CPUID_MAX_ENTRIES 256 /* KVM takes no more */

/* How this host's KVM runs guests: it decides what state there is to restore. */
enum host_flavour {
    HOST_VMX = 1,        /* Intel: kvm-intel */
    HOST_SVM = 2,        /* AMD: kvm-amd */
    HOST_PAGE_TABLES = 3 /* neither: a KVM that needs no processor support */
};

struct kvm_host {
    int fd; /* /dev/kvm */
    enum host_flavour flavour;
    size_t run_size;            /* bytes of the kvm_run mapping of a vCPU */
    uint32_t xsave_size;        /* bytes of KVM_GET_XSAVE(2) */
    bool has_shadow_pages;      /* KVM may keep page tables of its own in place of a guest's */
    bool has_tsc_offset;        /* KVM_VCPU_TSC_OFFSET can be set */
    uint32_t tsc_khz;           /* of the TSC that vCPUs are made with; 0: not known */
    uint32_t tsc_fraction_bits; /* of the ratio by which it scales a guest's TSC; 0: it cannot */
    struct kvm_cpuid2 *cpuid;   /* KVM_GET_SUPPORTED_CPUID */
    struct kvm_msr_list *msrs;  /* KVM_GET_MSR_INDEX_LIST */
};

/*
 * Open /dev/kvm and check that everything we stand on is there. `with_cpuid` asks for the supported CPUID
 * too, which costs half a millisecond and is needed only to boot. Errors: -ENOENT, -EACCES, -ENOTSUP (what is
 * missing).
 */
int kvm_host_open(struct kvm_host *host, bool with_cpuid, struct forkd_error *err);
/* Open /dev/kvm now, for a kvm_host_open when no path leads there any more. */
void kvm_open_ahead(void);
void kvm_host_close(struct kvm_host *host);
enum host_flavour kvm_flavour(void);

/* An ioctl whose failure is reported under `name`. Returns its result, or a negative errno. */
int kvm_ioctl(int fd, unsigned long request, const void *argument, const char *name, struct forkd_error *err);
/* The same for the few ioctls whose argument is a number. */
int kvm_ioctl_value(int fd, unsigned long request, unsigned long value, const char *name,
                    struct forkd_error *err);
#define KVM_IOCTL_VALUE(fd, request, value, err) kvm_ioctl_value(fd, request, value, #request, err)
#define KVM_IOCTL(fd, request, argument, err) kvm_ioctl(fd, request, argument, #request, err)

#endif
