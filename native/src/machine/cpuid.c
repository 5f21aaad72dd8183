/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E. */
#include "machine/cpuid.h"

#include "machine/features.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEAF_1_ECX_MONITOR (1u << 3)
#define LEAF_1_ECX_VMX (1u << 5)
#define LEAF_1_ECX_PDCM (1u << 15)
#define LEAF_1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF_1_ECX_HYPERVISOR (1u << 31)
#define LEAF_1_EDX_HTT (1u << 28)
#define LEAF_7_EBX_SGX (1u << 2)
#define LEAF_7_EBX_PT (1u << 25)
#define LEAF_7_ECX_SGX_LC (1u << 30)
#define LEAF_7_EDX_SGX_KEYS (1u << 1)
#define LEAF_7_EDX_ARCH_LBR (1u << 19)
#define LEAF_80000001_ECX_SVM (1u << 2)
#define LEAF_80000001_ECX_TOPOEXT (1u << 22)
#define LEAF_80000001_ECX_PERFCTR_CORE (1u << 23)
#define LEAF_80000001_ECX_PERFCTR_NB (1u << 24)
#define LEAF_80000001_ECX_PERFCTR_LLC (1u << 28)

#define LEAF_TOPOLOGY 0xbu
#define LEAF_TOPOLOGY_V2 0x1fu
#define TOPOLOGY_LEVELS 3

static uint32_t bits_for(uint32_t count)
{
    uint32_t bits = 0;
    while ((1u << bits) < count)
        bits++;
    return bits;
}

/* VMX and SVM go, too: a guest inside the guest is state of its own (KVM_GET_NESTED_STATE) and is not saved.
 */
static void adjust(struct kvm_cpuid_entry2 *entry, uint32_t vcpu, uint32_t vcpu_count)
{
    uint32_t apic_bits = bits_for(vcpu_count);
    switch (entry->function) {
    case 0x1:
        entry->ebx = (entry->ebx & 0xffffu) | (vcpu_count << 16) | (vcpu << 24);
        entry->ecx &= ~(LEAF_1_ECX_MONITOR | LEAF_1_ECX_VMX | LEAF_1_ECX_PDCM);
        entry->ecx |= LEAF_1_ECX_TSC_DEADLINE | LEAF_1_ECX_HYPERVISOR;
        entry->edx = vcpu_count > 1 ? entry->edx | LEAF_1_EDX_HTT : entry->edx & ~LEAF_1_EDX_HTT;
        break;
    case 0x4: /* Cores in the package, and who shares a cache: nobody but the last level. */
        if ((entry->eax & 0x1fu) == 0)
            break;
        entry->eax &= 0x3fffu;
        entry->eax |= (vcpu_count - 1) << 26;
        if (((entry->eax >> 5) & 7u) >= 3)
            entry->eax |= (vcpu_count - 1) << 14;
        break;
    case 0x7: /* State that KVM keeps outside of what a snapshot has: enclaves, traces, branch records. */
        if (entry->index != 0)
            break;
        entry->ebx &= ~(LEAF_7_EBX_SGX | LEAF_7_EBX_PT);
        entry->ecx &= ~LEAF_7_ECX_SGX_LC;
        entry->edx &= ~(LEAF_7_EDX_SGX_KEYS | LEAF_7_EDX_ARCH_LBR);
        break;
    case 0xa: /* No performance monitoring: counters that run on another host's frequencies mean nothing. */
        entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
        break;
    case 0x80000001:
        entry->ecx &=
            ~(LEAF_80000001_ECX_SVM | LEAF_80000001_ECX_PERFCTR_CORE | LEAF_80000001_ECX_PERFCTR_NB |
              LEAF_80000001_ECX_PERFCTR_LLC | LEAF_80000001_ECX_TOPOEXT);
        break;
    case 0x80000008:
        entry->ecx = (entry->ecx & ~0xf0ffu) | (apic_bits << 12) | (vcpu_count - 1);
        break;
    case 0x8000001e:
        entry->eax = vcpu;
        entry->ebx = vcpu; /* one thread a core */
        entry->ecx = 0;
        break;
    case 0x12:       /* SGX */
    case 0x14:       /* Processor trace */
    case 0x1c:       /* Architectural branch records */
    case 0x8000000a: /* SVM */
    case 0x8000001f: /* Memory encryption */
    case 0x80000022: /* AMD performance monitoring, version 2 */
        entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
        break;
    default:
        break;
    }
}

/* The extended topology: KVM's own list may hold no more than an empty first level of it. */
static void add_topology(struct kvm_cpuid2 *cpuid, uint32_t vcpu, uint32_t vcpu_count)
{
    static const uint32_t smt_level = 1u << 8;
    static const uint32_t core_level = 2u << 8;
    for (uint32_t level = 0; level < TOPOLOGY_LEVELS; level++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];
        *entry = (struct kvm_cpuid_entry2){.function = LEAF_TOPOLOGY,
                                           .index = level,
                                           .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                                           .ecx = level,
                                           .edx = vcpu};
        if (level == 0) {
            entry->ebx = 1;
            entry->ecx |= smt_level;
        } else if (level == 1) {
            entry->eax = bits_for(vcpu_count);
            entry->ebx = vcpu_count;
            entry->ecx |= core_level;
        }
    }
}

int cpuid_for_vcpu(struct kvm_cpuid2 **out, const struct kvm_cpuid2 *supported, uint32_t vcpu,
                   uint32_t vcpu_count, bool baseline, struct forkd_error *err)
{
    struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof *cpuid + (supported->nent + TOPOLOGY_LEVELS) * sizeof cpuid->entries[0]);
    if (cpuid == NULL)
        return error_set(err, ENOMEM, "allocate", "CPUID table", NULL);
    uint32_t highest_leaf = 0;
    for (uint32_t i = 0; i < supported->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &supported->entries[i];
        if (entry->function == 0)
            highest_leaf = entry->eax;
        if (entry->function == LEAF_TOPOLOGY || entry->function == LEAF_TOPOLOGY_V2)
            continue;
        cpuid->entries[cpuid->nent] = *entry;
        adjust(&cpuid->entries[cpuid->nent++], vcpu, vcpu_count);
    }
    int result = baseline ? features_apply_baseline(cpuid, err) : 0;
    if (result < 0) {
        free(cpuid);
        return result;
    }
    if (highest_leaf >= LEAF_TOPOLOGY)
        add_topology(cpuid, vcpu, vcpu_count);
    *out = cpuid;
    return 0;
}
