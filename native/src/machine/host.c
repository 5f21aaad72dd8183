/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/host.h"

#include "machine/features.h"
#include "machine/tsc.h"

#include <cpuid.h>
#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define SECTION_VERSION 1

/*
 * Intel SDM volume 4, IA32_ARCH_CAPABILITIES: bits that promise something. RSBA (2) and RRSBA (19) warn
 * instead.
 */
#define MSR_ARCH_CAPABILITIES 0x10au
#define ARCH_CAPABILITIES_WARNINGS ((1u << 2) | (1u << 19))
#define LEAF_7_EDX_ARCH_CAPABILITIES (1u << 29)

static const char *flavour_name(uint32_t flavour)
{
    switch (flavour) {
    case HOST_VMX:
        return "kvm-intel (VMX)";
    case HOST_SVM:
        return "kvm-amd (SVM)";
    default:
        return "a KVM without VMX or SVM";
    }
}

void host_identify(struct host_record *record)
{
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t c = 0;
    uint32_t d = 0;
    memset(record, 0, sizeof *record);
    record->flavour = kvm_flavour();
    __get_cpuid(0, &a, &b, &c, &d);
    memcpy(record->vendor, (uint32_t[3]){b, d, c}, 12);
    if (__get_cpuid(1, &a, &b, &c, &d))
        record->signature = a;
}

void host_save(const struct host_record *record, struct vmstate_writer *writer)
{
    vmstate_begin(writer, HOST_SECTION, 0, SECTION_VERSION);
    vmstate_put_u32(writer, record->flavour);
    vmstate_put_u32(writer, record->signature);
    vmstate_put_bytes(writer, record->vendor, 12);
    vmstate_end(writer);
}

int host_load(struct host_record *record, const struct vmstate_reader *reader, struct forkd_error *err)
{
    memset(record, 0, sizeof *record);
    struct vmstate_section section;
    int result = vmstate_open(reader, HOST_SECTION, 0, SECTION_VERSION, &section, err);
    if (result < 0)
        return result;
    record->flavour = vmstate_get_u32(&section);
    record->signature = vmstate_get_u32(&section);
    vmstate_get_bytes(&section, record->vendor, 12);
    if (record->flavour < HOST_VMX || record->flavour > HOST_PAGE_TABLES)
        vmstate_reject(&section);
    for (int i = 0; i < 12; i++) {
        if (record->vendor[i] < ' ' || record->vendor[i] > '~')
            vmstate_reject(&section);
    }
    return vmstate_close(&section, err);
}

static int check_arch_capabilities(const struct vcpu_state *vcpu, const struct kvm_host *host,
                                   struct forkd_error *err)
{
    if ((features_get(vcpu->cpuid, 7, 0, 'd') & LEAF_7_EDX_ARCH_CAPABILITIES) == 0)
        return 0;
    /* struct kvm_msrs ends in an array of any length; one entry is wanted. */
    alignas(struct kvm_msrs) uint8_t buffer[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)] = {0};
    struct kvm_msrs *msrs = (struct kvm_msrs *)buffer;
    msrs->nmsrs = 1;
    msrs->entries[0].index = MSR_ARCH_CAPABILITIES;
    uint64_t here = ioctl(host->fd, KVM_GET_MSRS, msrs) == 1 ? msrs->entries[0].data : 0;
    for (uint32_t i = 0; i < vcpu->msrs->nmsrs; i++) {
        const struct kvm_msr_entry *saved = &vcpu->msrs->entries[i];
        uint64_t missing = saved->data & ~here & ~(uint64_t)ARCH_CAPABILITIES_WARNINGS;
        if (saved->index == MSR_ARCH_CAPABILITIES && missing != 0)
            return error_set(err, ENOTSUP, "check", "host",
                             "the snapshot needs bit %d of IA32_ARCH_CAPABILITIES, which this host lacks",
                             __builtin_ctzll(missing));
    }
    return 0;
}

int host_check(const struct host_record *record, const struct vcpu_state *vcpu, const struct kvm_host *host,
               struct forkd_error *err)
{
    struct host_record here;
    host_identify(&here);
    if (strcmp(record->vendor, here.vendor) != 0)
        return error_set(
            err, ENOTSUP, "check", "host",
            "the snapshot was made on a processor of %s (signature 0x%x), this host's is of %s (0x%x)",
            record->vendor, record->signature, here.vendor, here.signature);
    if (record->flavour != here.flavour)
        return error_set(err, ENOTSUP, "check", "host", "the snapshot was made with %s, this host has %s",
                         flavour_name(record->flavour), flavour_name(here.flavour));
    char names[FEATURES_TEXT_SIZE];
    uint32_t count =
        features_missing(vcpu->cpuid, host->cpuid, here.flavour == HOST_PAGE_TABLES, names, sizeof names);
    if (count > 0)
        return error_set(err, ENOTSUP, "check", "host",
                         "the snapshot needs %u processor feature%s that this host lacks: %s", count,
                         count == 1 ? "" : "s", names);
    struct tsc_rate rate;
    int result = tsc_rate(&rate, host, vcpu->tsc_khz, err);
    return result < 0 ? result : check_arch_capabilities(vcpu, host, err);
}
