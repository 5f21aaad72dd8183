/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "machine/features.h"

#include <errno.h>
#include <string.h>

#define MAX_ENTRIES 16

union table {
    struct kvm_cpuid2 cpuid;
    uint8_t bytes[sizeof(struct kvm_cpuid2) + MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
};

static struct kvm_cpuid_entry2 *add(union table *table, uint32_t function, uint32_t index)
{
    struct kvm_cpuid_entry2 *entry = &table->cpuid.entries[table->cpuid.nent++];
    assert_true(table->cpuid.nent <= MAX_ENTRIES);
    *entry = (struct kvm_cpuid_entry2){.function = function, .index = index};
    if (function == 0x7 || function == 0xd)
        entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    return entry;
}

static void add_vendor(union table *table, const char *vendor, uint32_t highest)
{
    struct kvm_cpuid_entry2 *entry = add(table, 0, 0);
    entry->eax = highest;
    memcpy(&entry->ebx, vendor, 4);
    memcpy(&entry->edx, vendor + 4, 4);
    memcpy(&entry->ecx, vendor + 8, 4);
}

static void missing_features_are_named(void **state)
{
    (void)state;
    union table guest = {0};
    union table host = {0};
    add(&guest, 1, 0)->ecx = (1u << 28) | (1u << 23); /* avx, popcnt */
    add(&guest, 7, 0)->ebx = 1u << 16;                /* avx512f */
    add(&guest, 7, 2)->edx = 1u << 5;                 /* one without a name */
    add(&host, 1, 0)->ecx = 1u << 23;
    char text[FEATURES_TEXT_SIZE];
    assert_int_equal(features_missing(&guest.cpuid, &host.cpuid, false, text, sizeof text), 3);
    assert_string_equal(text, "avx, avx512f, CPUID 0x7.2 edx bit 5");
}

static void richer_host_lacks_nothing(void **state)
{
    (void)state;
    union table guest = {0};
    union table host = {0};
    add(&guest, 1, 0)->ecx = 1u << 23;
    add(&host, 1, 0)->ecx = 0xffffffff;
    add(&host, 7, 0)->ebx = 0xffffffff;
    char text[FEATURES_TEXT_SIZE];
    assert_int_equal(features_missing(&guest.cpuid, &host.cpuid, false, text, sizeof text), 0);
    assert_string_equal(text, "");
}

/* OSXSAVE and OSPKE follow the guest's CR4; the deadline timer and the hypervisor bit are of our making. */
static void bits_that_say_nothing_of_the_processor_do_not_count(void **state)
{
    (void)state;
    union table guest = {0};
    union table host = {0};
    add(&guest, 1, 0)->ecx = (1u << 24) | (1u << 27) | (1u << 31);
    add(&guest, 7, 0)->ecx = 1u << 4;
    char text[FEATURES_TEXT_SIZE];
    assert_int_equal(features_missing(&guest.cpuid, &host.cpuid, false, text, sizeof text), 0);
}

static void wider_addresses_are_missing(void **state)
{
    (void)state;
    union table guest = {0};
    union table host = {0};
    add(&guest, 0x80000008, 0)->eax = 0x3034;
    add(&host, 0x80000008, 0)->eax = 0x3027;
    char text[FEATURES_TEXT_SIZE];
    assert_int_equal(features_missing(&guest.cpuid, &host.cpuid, false, text, sizeof text), 1);
    assert_string_equal(text, "52 bits of physical address (here: 39)");
}

static void names_that_do_not_fit_are_counted(void **state)
{
    (void)state;
    union table guest = {0};
    union table host = {0};
    add(&guest, 7, 0)->ebx = 0xffffffff;
    char text[16];
    assert_int_equal(features_missing(&guest.cpuid, &host.cpuid, false, text, sizeof text), 32);
    assert_string_equal(text, "fsgsbase, tsc_a");
}

static void baseline_leaves_out_what_came_later(void **state)
{
    (void)state;
    union table cpuid = {0};
    add_vendor(&cpuid, "GenuineIntel", 0x20);
    add(&cpuid, 1, 0)->ecx = 0xffffffff;
    struct kvm_cpuid_entry2 *leaf_7 = add(&cpuid, 7, 0);
    leaf_7->eax = 2;
    leaf_7->ebx = leaf_7->ecx = leaf_7->edx = 0xffffffff;
    add(&cpuid, 7, 1)->eax = 0xffffffff;
    add(&cpuid, 0xd, 0)->eax = 0xe7;
    add(&cpuid, 0xd, 2)->eax = 256;
    add(&cpuid, 0xd, 5)->eax = 64;
    add(&cpuid, 0x1d, 0)->eax = 1;
    add(&cpuid, 0x40000001, 0)->eax = 0xffffffff;
    add(&cpuid, 0x80000008, 0)->eax = 0x302e;
    assert_int_equal(features_apply_baseline(&cpuid.cpuid, NULL), 0);
    assert_int_equal(features_get(&cpuid.cpuid, 0, 0, 'a'), 0xd);
    assert_int_equal(features_get(&cpuid.cpuid, 1, 0, 'c') & (1u << 28), 1u << 28);
    assert_int_equal(features_get(&cpuid.cpuid, 1, 0, 'c') & (1u << 5), 0);
    assert_int_equal(features_get(&cpuid.cpuid, 7, 0, 'a'), 0);
    assert_int_equal(features_get(&cpuid.cpuid, 7, 0, 'b'), 0x7ab);
    assert_int_equal(features_get(&cpuid.cpuid, 7, 1, 'a'), 0);
    assert_int_equal(features_get(&cpuid.cpuid, 0xd, 0, 'a'), 7);
    assert_int_equal(features_get(&cpuid.cpuid, 0xd, 0, 'c'), 832);
    assert_int_equal(features_get(&cpuid.cpuid, 0xd, 2, 'a'), 256);
    assert_int_equal(features_get(&cpuid.cpuid, 0xd, 5, 'a'), 0);
    assert_int_equal(features_get(&cpuid.cpuid, 0x1d, 0, 'a'), 0);
    assert_int_equal(features_get(&cpuid.cpuid, 0x40000001, 0, 'a'), 0x01001afb);
    assert_int_equal(features_get(&cpuid.cpuid, 0x80000008, 0, 'a'), 0x3027);
}

static void baseline_of_an_unknown_vendor_is_refused(void **state)
{
    (void)state;
    union table cpuid = {0};
    add_vendor(&cpuid, "CentaurHauls", 7);
    struct forkd_error error;
    assert_int_equal(features_apply_baseline(&cpuid.cpuid, &error), -ENOTSUP);
    assert_non_null(strstr(error.text, "CentaurHauls"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_features_are_named),
        cmocka_unit_test(richer_host_lacks_nothing),
        cmocka_unit_test(bits_that_say_nothing_of_the_processor_do_not_count),
        cmocka_unit_test(wider_addresses_are_missing),
        cmocka_unit_test(names_that_do_not_fit_are_counted),
        cmocka_unit_test(baseline_leaves_out_what_came_later),
        cmocka_unit_test(baseline_of_an_unknown_vendor_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
