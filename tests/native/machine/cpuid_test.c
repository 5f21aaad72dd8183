/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest is given of the processor: on top of what this machine's KVM supports are leaves of processors
 * and kernels that it may not have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "machine/cpuid.h"
#include "machine/features.h"
#include "machine/kvm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VCPUS 4u
#define MAX_ENTRIES 256u
#define SHSTK (1u << 7)
#define IBT (1u << 20)
#define AMX ((1u << 22) | (1u << 24) | (1u << 25))
#define CET_STATES ((1u << 11) | (1u << 12))
#define AMX_STATES ((1u << 17) | (1u << 18))
#define AMX_XSAVE_SIZE 11008u /* up to the end of the tiles' data */
#define AMX_FP16 (1u << 21)
#define AMX_COMPLEX (1u << 8)
#define CET_SSS (1u << 18)
#define XFD (1u << 4)

static struct kvm_cpuid_entry2 *entry_of(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
            return &cpuid->entries[i];
    }
    assert_true(cpuid->nent < MAX_ENTRIES);
    struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];
    *entry = (struct kvm_cpuid_entry2){
        .function = function, .index = index, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
    return entry;
}

static void add(struct kvm_cpuid2 *cpuid, struct kvm_cpuid_entry2 wanted)
{
    struct kvm_cpuid_entry2 *entry = entry_of(cpuid, wanted.function, wanted.index);
    entry->eax |= wanted.eax;
    entry->ebx |= wanted.ebx;
    entry->ecx |= wanted.ecx;
    entry->edx |= wanted.edx;
}

/* A third-level cache for 16 threads, a second-level one for 2: of Zen 3 (APM volume 3, E.4.15). */
static void add_amd_topology(struct kvm_cpuid2 *cpuid)
{
    entry_of(cpuid, 0x80000000, 0)->eax = 0x80000026;
    for (uint32_t i = 0; i < 5; i++)
        memset(&entry_of(cpuid, 0x8000001d, i)->eax, 0, 4 * sizeof(uint32_t));
    add(cpuid, (struct kvm_cpuid_entry2){
                   .function = 0x8000001d, .index = 2, .eax = 0x143 | 1u << 14, .ebx = 0x1c0003f});
    add(cpuid, (struct kvm_cpuid_entry2){
                   .function = 0x8000001d, .index = 3, .eax = 0x163 | 15u << 14, .ebx = 0x3c0003f});
    add(cpuid,
        (struct kvm_cpuid_entry2){.function = 0x80000026, .index = 0, .eax = 1, .ebx = 2, .ecx = 0x100});
    add(cpuid,
        (struct kvm_cpuid_entry2){.function = 0x80000026, .index = 1, .eax = 7, .ebx = 16, .ecx = 0x201});
}

/* What Linux offers from 6.18 on, with their components of IA32_XSS. */
static void add_shadow_stacks(struct kvm_cpuid2 *cpuid)
{
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0x7, .index = 0, .ecx = SHSTK, .edx = IBT});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0x7, .index = 1, .edx = CET_SSS});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0xd, .index = 1, .ecx = CET_STATES});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0xd, .index = 11, .eax = 16, .ecx = 1});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0xd, .index = 12, .eax = 24, .ecx = 1});
}

/* Of Sapphire Rapids and Granite Rapids. */
static void add_amx(struct kvm_cpuid2 *cpuid)
{
    entry_of(cpuid, 0xd, 0)->ecx = AMX_XSAVE_SIZE;
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0x7, .index = 0, .edx = AMX});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0x7, .index = 1, .eax = AMX_FP16, .edx = AMX_COMPLEX});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0xd, .index = 0, .eax = 7 | AMX_STATES});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0xd, .index = 1, .eax = XFD});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0xd, .index = 17, .eax = 64, .ebx = 2752, .ecx = 2});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0xd, .index = 18, .eax = 8192, .ebx = 2816, .ecx = 6});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0x1d, .index = 0, .eax = 1});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0x1d, .index = 1, .eax = 0x04002000, .ebx = 0x00080040});
    add(cpuid, (struct kvm_cpuid_entry2){.function = 0x1e, .index = 0, .ebx = 0x4010});
}

/*
 * Made for the last vCPU, and taken by KVM. What KVM would say of it afterwards is no measure: page-table KVM
 * puts its own in place of much.
 */
static struct kvm_cpuid2 *made_for_a_guest(void (*add_leaves)(struct kvm_cpuid2 *))
{
    struct kvm_host host;
    struct forkd_error error = {0};
    struct kvm_cpuid2 *made = NULL;
    if (kvm_host_open(&host, true, &error) < 0)
        fail_msg("%s", error.text);
    host.cpuid = realloc(host.cpuid, sizeof *host.cpuid + MAX_ENTRIES * sizeof host.cpuid->entries[0]);
    assert_non_null(host.cpuid);
    add_leaves(host.cpuid);
    int vm = KVM_IOCTL(host.fd, KVM_CREATE_VM, NULL, &error);
    int vcpu = vm < 0 ? vm : KVM_IOCTL_VALUE(vm, KVM_CREATE_VCPU, 0, &error);
    if (vcpu < 0 || cpuid_for_vcpu(&made, host.cpuid, VCPUS - 1, VCPUS, false, &error) < 0 ||
        KVM_IOCTL(vcpu, KVM_SET_CPUID2, made, &error) < 0)
        fail_msg("%s", error.text);
    close(vcpu);
    close(vm);
    kvm_host_close(&host);
    return made;
}

static void shadow_stacks_are_hidden(void **state)
{
    (void)state;
    struct kvm_cpuid2 *made = made_for_a_guest(add_shadow_stacks);
    assert_int_equal(features_get(made, 7, 0, 'c') & SHSTK, 0);
    assert_int_equal(features_get(made, 7, 0, 'd') & IBT, 0);
    assert_int_equal(features_get(made, 7, 1, 'd') & CET_SSS, 0);
    assert_int_equal(features_get(made, 0xd, 1, 'c') & CET_STATES, 0);
    assert_int_equal(features_get(made, 0xd, 11, 'a'), 0);
    assert_int_equal(features_get(made, 0xd, 12, 'a'), 0);
    free(made);
}

static void amx_is_hidden(void **state)
{
    (void)state;
    struct kvm_cpuid2 *made = made_for_a_guest(add_amx);
    assert_int_equal(features_get(made, 7, 0, 'd') & AMX, 0);
    assert_int_equal(features_get(made, 7, 1, 'a') & AMX_FP16, 0);
    assert_int_equal(features_get(made, 7, 1, 'd') & AMX_COMPLEX, 0);
    assert_int_equal(features_get(made, 0xd, 0, 'a') & AMX_STATES, 0);
    assert_int_equal(features_get(made, 0xd, 1, 'a') & XFD, 0);
    assert_int_equal(features_get(made, 0xd, 17, 'a'), 0);
    assert_int_equal(features_get(made, 0xd, 18, 'a'), 0);
    assert_int_equal(features_get(made, 0x1d, 0, 'a'), 0);
    assert_int_equal(features_get(made, 0x1d, 1, 'b'), 0);
    assert_int_equal(features_get(made, 0x1e, 0, 'b'), 0);
    /* As much as what is left: without the tiles, which were last. */
    assert_in_range(features_get(made, 0xd, 0, 'c'), 576, 2816 - 1);
    free(made);
}

static void amd_cache_topology_is_the_guests(void **state)
{
    (void)state;
    struct kvm_cpuid2 *made = made_for_a_guest(add_amd_topology);
    assert_int_equal(features_get(made, 0x8000001d, 2, 'a'), 0x143);
    assert_int_equal(features_get(made, 0x8000001d, 2, 'b'), 0x1c0003f);
    assert_int_equal(features_get(made, 0x8000001d, 3, 'a'), 0x163 | (VCPUS - 1) << 14);
    assert_int_equal(features_get(made, 0x8000001d, 4, 'a'), 0);
    /* A level of type 0: the leaf says nothing, and leaf 0xb is asked (APM volume 3, E.4.24). */
    assert_int_equal(features_get(made, 0x80000026, 0, 'b'), 0);
    assert_int_equal(features_get(made, 0x80000026, 0, 'c'), 0);
    assert_int_equal(features_get(made, 0xb, 1, 'b'), VCPUS);
    assert_int_equal(features_get(made, 0xb, 1, 'd'), VCPUS - 1);
    free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shadow_stacks_are_hidden),
        cmocka_unit_test(amx_is_hidden),
        cmocka_unit_test(amd_cache_topology_is_the_guests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
