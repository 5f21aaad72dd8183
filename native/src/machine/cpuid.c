/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.4. */
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
#define LEAF_7_ECX_SHSTK (1u << 7)
#define LEAF_7_ECX_SGX_LC (1u << 30)
#define LEAF_7_EDX_SGX_KEYS (1u << 1)
#define LEAF_7_EDX_ARCH_LBR (1u << 19)
#define LEAF_7_EDX_IBT (1u << 20)
#define LEAF_7_EDX_AMX ((1u << 22) | (1u << 24) | (1u << 25)) /* BF16, TILE, INT8 */
#define LEAF_7_1_EAX_AMX_FP16 (1u << 21)
#define LEAF_7_1_EDX_AMX_COMPLEX (1u << 8)
#define LEAF_7_1_EDX_CET_SSS (1u << 18)
#define LEAF_D_1_EAX_XFD (1u << 4)
#define LEAF_D_ECX_SUPERVISOR (1u << 0) /* sub-leaves from 2 on: a component of IA32_XSS */
#define LEAF_80000001_ECX_SVM (1u << 2)
#define LEAF_80000001_ECX_TOPOEXT (1u << 22)
#define LEAF_80000001_ECX_PERFCTR_CORE (1u << 23)
#define LEAF_80000001_ECX_PERFCTR_NB (1u << 24)
#define LEAF_80000001_ECX_PERFCTR_LLC (1u << 28)

#define LEAF_TOPOLOGY 0xbu
#define LEAF_TOPOLOGY_V2 0x1fu
#define LEAF_TOPOLOGY_AMD 0x80000026u
#define TOPOLOGY_LEVELS 3

/* Components of XSAVE, which are sub-leaves of leaf 0xd (SDM volume 1, 13.1): user and supervisor shadow
 * stacks; configuration and data of AMX's tiles. */
#define XSTATE_CET ((1u << 11) | (1u << 12))
#define XSTATE_AMX ((1u << 17) | (1u << 18))
/* SDM volume 1, 13.4: the legacy region and the header. */
#define XSAVE_FIXED_BYTES 576u

static uint32_t bits_for(uint32_t count)
{
    uint32_t bits = 0;
    while ((1u << bits) < count)
        bits++;
    return bits;
}

/* Who shares a cache, nobody but the last level: leaf 4, and AMD's leaf 0x8000001d, which counts no cores. */
static void share_caches(struct kvm_cpuid_entry2 *entry, uint32_t vcpu_count)
{
    entry->eax &= 0x3fffu;
    if (((entry->eax >> 5) & 7u) >= 3)
        entry->eax |= (vcpu_count - 1) << 14;
}

/*
 * State that KVM keeps outside of what a snapshot has is hidden with what makes it. Enclaves, traces and
 * branch records; shadow stacks, whose pointer is no MSR (Linux offers them from 6.18 on; SDM volume 1,
 * chapter 17, APM volume 2, chapter 18), and IBT, which shares their MSRs; AMX, whose tiles KVM keeps only
 * for a process that has asked for them (ARCH_REQ_XCOMP_GUEST_PERM; SDM volume 1, chapter 18). VMX and SVM: a
 * guest inside the guest (KVM_GET_NESTED_STATE).
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
    case 0x4: /* and the cores in the package */
        if ((entry->eax & 0x1fu) == 0)
            break;
        share_caches(entry, vcpu_count);
        entry->eax |= (vcpu_count - 1) << 26;
        break;
    case 0x7:
        if (entry->index == 0) {
            entry->ebx &= ~(LEAF_7_EBX_SGX | LEAF_7_EBX_PT);
            entry->ecx &= ~(LEAF_7_ECX_SGX_LC | LEAF_7_ECX_SHSTK);
            entry->edx &= ~(LEAF_7_EDX_SGX_KEYS | LEAF_7_EDX_ARCH_LBR | LEAF_7_EDX_IBT | LEAF_7_EDX_AMX);
        } else if (entry->index == 1) {
            entry->eax &= ~LEAF_7_1_EAX_AMX_FP16;
            entry->edx &= ~(LEAF_7_1_EDX_AMX_COMPLEX | LEAF_7_1_EDX_CET_SSS);
        }
        break;
    case 0xa: /* No performance monitoring: counters that run on another host's frequencies mean nothing. */
        entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
        break;
    case 0xd: /* XSAVE: the components of XCR0, and of IA32_XSS in sub-leaf 1 */
        if (entry->index == 0) {
            entry->eax &= ~XSTATE_AMX;
        } else if (entry->index == 1) {
            entry->eax &= ~LEAF_D_1_EAX_XFD; /* of use to AMX only */
            entry->ecx &= ~XSTATE_CET;
        }
        break;
    case 0x80000001:
        entry->ecx &=
            ~(LEAF_80000001_ECX_SVM | LEAF_80000001_ECX_PERFCTR_CORE | LEAF_80000001_ECX_PERFCTR_NB |
              LEAF_80000001_ECX_PERFCTR_LLC | LEAF_80000001_ECX_TOPOEXT);
        break;
    case 0x80000008:
        entry->ecx = (entry->ecx & ~0xf0ffu) | (apic_bits << 12) | (vcpu_count - 1);
        break;
    case 0x8000001d:
        share_caches(entry, vcpu_count);
        break;
    case 0x8000001e:
        entry->eax = vcpu;
        entry->ebx = vcpu; /* one thread a core */
        entry->ecx = 0;
        break;
    case 0x12:       /* SGX */
    case 0x14:       /* Processor trace */
    case 0x1c:       /* Architectural branch records */
    case 0x1d:       /* AMX: palettes of tiles */
    case 0x1e:       /* AMX: the multiplier */
    case 0x8000000a: /* SVM */
    case 0x8000001f: /* Memory encryption */
    case 0x80000022: /* AMD performance monitoring, version 2 */
        entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
        break;
    default:
        break;
    }
}

/* Leaves that say nothing where they are left out: topology of the host's, in three dialects, of which the
 * first is added again; components of XSAVE that are hidden. */
static bool is_left_out(const struct kvm_cpuid_entry2 *entry)
{
    if (entry->function == 0xd)
        return entry->index < 32 && ((1u << entry->index) & (XSTATE_CET | XSTATE_AMX)) != 0;
    return entry->function == LEAF_TOPOLOGY || entry->function == LEAF_TOPOLOGY_V2 ||
           entry->function == LEAF_TOPOLOGY_AMD;
}

/* Leaf 0xd, ECX: bytes of all components that are left, in the standard format: to the end of the user state
 * that is last. (EBX, for those that the guest enabled, is KVM's to say.) */
static void measure_xsave(struct kvm_cpuid2 *cpuid)
{
    struct kvm_cpuid_entry2 *components = NULL;
    uint32_t size = XSAVE_FIXED_BYTES;
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
        if (entry->function != 0xd)
            continue;
        if (entry->index == 0)
            components = entry;
        else if (entry->index >= 2 && (entry->ecx & LEAF_D_ECX_SUPERVISOR) == 0 &&
                 entry->eax + entry->ebx > size)
            size = entry->eax + entry->ebx;
    }
    if (components != NULL && components->ecx > size)
        components->ecx = size;
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
        if (is_left_out(entry))
            continue;
        cpuid->entries[cpuid->nent] = *entry;
        adjust(&cpuid->entries[cpuid->nent++], vcpu, vcpu_count);
    }
    measure_xsave(cpuid);
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
