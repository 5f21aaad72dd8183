/* SPDX-License-Identifier: Apache-2.0 */
/* Putting a vCPU's state back, with this machine's own KVM: what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "machine/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MSR_IA32_XSS 0xda0u
#define MSR_OF_NOBODY 0x12345u
#define IMPOSSIBLE (1ull << 63) /* reserved in IA32_XSS, so that every KVM refuses it */

struct fixture {
    struct kvm_host host;
    int vm;
    struct vcpu vcpu;
    struct vcpu_state state;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct forkd_error error = {0};
    if (kvm_host_open(&fixture->host, true, &error) < 0 ||
        (fixture->vm = KVM_IOCTL(fixture->host.fd, KVM_CREATE_VM, NULL, &error)) < 0 ||
        KVM_IOCTL(fixture->vm, KVM_CREATE_IRQCHIP, NULL, &error) < 0 ||
        vcpu_create(&fixture->vcpu, NULL, 0, fixture->vm, &fixture->host, &error) < 0 ||
        KVM_IOCTL(fixture->vcpu.fd, KVM_SET_CPUID2, fixture->host.cpuid, &error) < 0 ||
        vcpu_get_state(&fixture->vcpu, &fixture->host, &fixture->state, &error) < 0)
        fail_msg("%s", error.text);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    vcpu_state_free(&fixture->state);
    vcpu_close(&fixture->vcpu, &fixture->host);
    close(fixture->vm);
    kvm_host_close(&fixture->host);
    free(fixture);
    return 0;
}

/* The state with one MSR more, put back. */
static int restore_with(struct fixture *fixture, uint32_t index, uint64_t value, struct forkd_error *error)
{
    struct vcpu_state *state = &fixture->state;
    uint32_t count = state->msrs->nmsrs;
    state->msrs = realloc(state->msrs, sizeof *state->msrs + (count + 1) * sizeof state->msrs->entries[0]);
    assert_non_null(state->msrs);
    state->msrs->nmsrs = count + 1;
    state->msrs->entries[count] = (struct kvm_msr_entry){.index = index, .data = value};
    int result = vcpu_state_prepare(state, &fixture->host, error);
    return result < 0 ? result : vcpu_set_state(&fixture->vcpu, state, error);
}

static void refused_xss_is_ignored_by_page_table_kvm(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    fixture->host.flavour = HOST_PAGE_TABLES;
    if (restore_with(fixture, MSR_IA32_XSS, IMPOSSIBLE, &error) != 0)
        fail_msg("%s", error.text);
}

static void refused_xss_is_an_error_by_name_elsewhere(void **state)
{
    struct fixture *fixture = *state;
    const enum host_flavour flavours[] = {HOST_VMX, HOST_SVM};
    for (int i = 0; i < 2; i++) {
        struct forkd_error error = {0};
        vcpu_state_free(&fixture->state);
        assert_int_equal(vcpu_get_state(&fixture->vcpu, &fixture->host, &fixture->state, &error), 0);
        /* The list of this machine's own may hold what only its own kind ignores. */
        fixture->state.msrs->nmsrs = 0;
        fixture->host.flavour = flavours[i];
        assert_int_equal(restore_with(fixture, MSR_IA32_XSS, IMPOSSIBLE, &error), -ENOTSUP);
        assert_string_equal(error.object, "MSR 0xda0");
    }
}

static void msr_that_nobody_knows_is_an_error_unless_it_holds_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    if (restore_with(fixture, MSR_OF_NOBODY, 0, &error) != 0)
        fail_msg("%s", error.text);
    free(fixture->state.timeless_msrs);
    free(fixture->state.time_msrs);
    assert_int_equal(restore_with(fixture, MSR_OF_NOBODY, 1, &error), -ENOTSUP);
    assert_string_equal(error.object, "MSR 0x12345");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refused_xss_is_ignored_by_page_table_kvm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_xss_is_an_error_by_name_elsewhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(msr_that_nobody_knows_is_an_error_unless_it_holds_nothing, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
