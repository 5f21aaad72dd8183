/* SPDX-License-Identifier: Apache-2.0 */
/* The TSC of a restored guest, where its frequency is the host's and where it is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "machine/tsc.h"
#include "machine/vcpu.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

#define DAY_NS 86400000000000ull
/* A host of 3 GHz that has been up for 100 days. */
#define HOST_KHZ 3000000u
#define HOST_TSC (100 * 86400ull * HOST_KHZ * 1000)

static const struct kvm_host svm = {
    .flavour = HOST_SVM, .tsc_khz = HOST_KHZ, .tsc_fraction_bits = 32, .has_tsc_offset = true};
static const struct kvm_host vmx = {
    .flavour = HOST_VMX, .tsc_khz = HOST_KHZ, .tsc_fraction_bits = 48, .has_tsc_offset = true};
static const struct kvm_host unscaled = {
    .flavour = HOST_PAGE_TABLES, .tsc_khz = HOST_KHZ, .has_tsc_offset = true};

/* What KVM has a guest read: documented behaviour of kvm_scale_tsc and of the offset. */
static uint64_t guest_reads(const struct tsc_rate *rate, uint64_t offset, uint64_t host_tsc)
{
    return (uint64_t)((unsigned __int128)host_tsc * rate->ratio >> rate->fraction_bits) + offset;
}

static void guest_of_another_frequency_goes_on_where_it_was(void **state)
{
    (void)state;
    const struct kvm_host *hosts[] = {&svm, &vmx};
    for (int i = 0; i < 2; i++) {
        struct tsc_rate rate;
        const uint32_t guest_khz = 2400000;
        const uint64_t then = 123456789;
        assert_int_equal(tsc_rate(&rate, hosts[i], guest_khz, NULL), 0);
        uint64_t offset = tsc_offset_for(&rate, guest_khz, then, DAY_NS, HOST_TSC);
        uint64_t a_day = 86400ull * guest_khz * 1000;
        assert_int_equal(guest_reads(&rate, offset, HOST_TSC), then + a_day);
        /* And an hour later, to the precision of a ratio of 32 bits. */
        uint64_t later = guest_reads(&rate, offset, HOST_TSC + 3600ull * HOST_KHZ * 1000);
        assert_in_range(later, then + a_day + 3600ull * guest_khz * 1000 - 3000,
                        then + a_day + 3600ull * guest_khz * 1000 + 3000);
    }
}

/* The very ratio that KVM computes, for every bit of it counts after 100 days. */
static void ratio_is_kvms(void **state)
{
    (void)state;
    struct tsc_rate rate;
    assert_int_equal(tsc_rate(&rate, &svm, 2400000, NULL), 0);
    assert_int_equal(rate.ratio, 0xcccccccc);
    assert_int_equal(rate.fraction_bits, 32);
    assert_int_equal(tsc_rate(&rate, &vmx, 3600000, NULL), 0);
    assert_int_equal(rate.ratio, 0x1333333333333);
    assert_int_equal(rate.fraction_bits, 48);
}

static void guest_of_the_same_frequency_is_not_scaled(void **state)
{
    (void)state;
    const uint32_t same[] = {HOST_KHZ, HOST_KHZ - 750, HOST_KHZ + 750, 0};
    for (int i = 0; i < 4; i++) {
        struct tsc_rate rate;
        assert_int_equal(tsc_rate(&rate, &unscaled, same[i], NULL), 0);
        assert_int_equal(tsc_scale(&rate, HOST_TSC), HOST_TSC);
        assert_int_equal(tsc_offset_for(&rate, HOST_KHZ, 1000, 1000000, HOST_TSC),
                         1000 + HOST_KHZ - HOST_TSC);
    }
}

static void host_that_cannot_scale_refuses_another_frequency_by_name(void **state)
{
    (void)state;
    const uint32_t others[] = {HOST_KHZ - 751, HOST_KHZ + 751};
    for (int i = 0; i < 2; i++) {
        struct tsc_rate rate;
        struct forkd_error error = {0};
        assert_int_equal(tsc_rate(&rate, &unscaled, others[i], &error), -ENOTSUP);
        assert_non_null(strstr(error.text, "this host's at 3000000 kHz, and its KVM cannot scale it"));
    }
}

/* What this machine's KVM has a guest read: at half the frequency where it can scale. */
static void guest_reads_what_was_asked_for(void **state)
{
    (void)state;
    struct kvm_host host;
    struct forkd_error error = {0};
    if (kvm_host_open(&host, true, &error) < 0)
        fail_msg("%s", error.text);
    assert_true(host.tsc_khz != 0 && host.has_tsc_offset);
    int vm = KVM_IOCTL(host.fd, KVM_CREATE_VM, NULL, &error);
    struct vcpu vcpu;
    struct vcpu_state seen = {0};
    struct tsc_rate rate;
    struct kvm_msrs no_msrs = {0};
    struct vcpu_state guest = {.tsc_khz = host.tsc_fraction_bits != 0 ? host.tsc_khz / 2 : host.tsc_khz,
                               .cpuid = host.cpuid,
                               .time_msrs = &no_msrs};
    if (vm < 0 || KVM_IOCTL(vm, KVM_CREATE_IRQCHIP, NULL, &error) < 0 ||
        vcpu_create(&vcpu, NULL, 0, vm, &host, &error) < 0 ||
        vcpu_set_cpuid(&vcpu, &host, &guest, &error) < 0 || tsc_rate(&rate, &host, guest.tsc_khz, &error) < 0)
        fail_msg("%s", error.text);
    uint64_t offset = tsc_offset_for(&rate, guest.tsc_khz, 5000000000, 0, __rdtsc());
    uint64_t tsc = 0;
    if (vcpu_set_time(&vcpu, &host, &guest, offset, &error) < 0 ||
        vcpu_get_state(&vcpu, &host, &seen, &error) < 0)
        fail_msg("%s", error.text);
    /* Guests of page-table KVM read the processor's own TSC, whatever is set. */
    assert_int_equal(seen.tsc_offset, host.flavour == HOST_PAGE_TABLES ? 0 : offset);
    uint64_t before = tsc_scale(&rate, __rdtsc());
    assert_int_equal(vcpu_get_tsc(&vcpu, &tsc, &error), 1);
    assert_in_range(tsc, before + seen.tsc_offset, tsc_scale(&rate, __rdtsc()) + seen.tsc_offset);
    vcpu_state_free(&seen);
    vcpu_close(&vcpu, &host);
    close(vm);
    kvm_host_close(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_of_another_frequency_goes_on_where_it_was),
        cmocka_unit_test(ratio_is_kvms),
        cmocka_unit_test(guest_of_the_same_frequency_is_not_scaled),
        cmocka_unit_test(host_that_cannot_scale_refuses_another_frequency_by_name),
        cmocka_unit_test(guest_reads_what_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
