/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a snapshot's host will do for this one, on this machine's own KVM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "machine/host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AVX512ER (1u << 27) /* leaf 7, EBX: of no processor but Xeon Phi */

struct snapshot {
    struct kvm_host host;
    struct host_record made_on;
    struct kvm_msrs msrs;
    struct vcpu_state vcpu;
};

/* One that was made on this host, with all that its KVM offers. */
static int make_snapshot(void **state)
{
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    struct forkd_error error = {0};
    if (kvm_host_open(&snapshot->host, true, &error) < 0)
        fail_msg("%s", error.text);
    host_identify(&snapshot->made_on);
    size_t size = sizeof *snapshot->host.cpuid + snapshot->host.cpuid->nent * sizeof(struct kvm_cpuid_entry2);
    snapshot->vcpu.cpuid = malloc(size);
    memcpy(snapshot->vcpu.cpuid, snapshot->host.cpuid, size);
    snapshot->vcpu.msrs = &snapshot->msrs;
    *state = snapshot;
    return 0;
}

static int remove_snapshot(void **state)
{
    struct snapshot *snapshot = *state;
    free(snapshot->vcpu.cpuid);
    kvm_host_close(&snapshot->host);
    free(snapshot);
    return 0;
}

static void assert_refused(const struct snapshot *snapshot, const char *why)
{
    struct forkd_error error = {0};
    assert_int_equal(host_check(&snapshot->made_on, &snapshot->vcpu, &snapshot->host, &error), -ENOTSUP);
    if (strstr(error.text, why) == NULL)
        fail_msg("'%s' lacks '%s'", error.text, why);
}

static void own_snapshot_is_taken(void **state)
{
    struct snapshot *snapshot = *state;
    struct forkd_error error = {0};
    if (host_check(&snapshot->made_on, &snapshot->vcpu, &snapshot->host, &error) != 0)
        fail_msg("%s", error.text);
}

static void other_vendor_is_refused_by_name(void **state)
{
    struct snapshot *snapshot = *state;
    memcpy(snapshot->made_on.vendor, "CentaurHauls", 13);
    assert_refused(snapshot, "made on a processor of CentaurHauls");
}

static void other_kind_of_kvm_is_refused_by_name(void **state)
{
    static const char *const names[] = {[HOST_VMX] = "kvm-intel (VMX)",
                                        [HOST_SVM] = "kvm-amd (SVM)",
                                        [HOST_PAGE_TABLES] = "a KVM without VMX or SVM"};
    struct snapshot *snapshot = *state;
    uint32_t here = snapshot->made_on.flavour;
    for (uint32_t other = HOST_VMX; other <= HOST_PAGE_TABLES; other++) {
        char why[128];
        if (other == here)
            continue;
        snapshot->made_on.flavour = other;
        snprintf(why, sizeof why, "was made with %s, this host has %s", names[other], names[here]);
        assert_refused(snapshot, why);
    }
}

static void missing_feature_is_refused_by_name(void **state)
{
    struct snapshot *snapshot = *state;
    bool found = false;
    for (uint32_t i = 0; i < snapshot->vcpu.cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *entry = &snapshot->vcpu.cpuid->entries[i];
        if (entry->function != 7 || entry->index != 0)
            continue;
        entry->ebx |= AVX512ER;
        found = true;
    }
    assert_true(found);
    assert_refused(snapshot, "needs 1 processor feature that this host lacks: avx512er");
}

static void another_tsc_frequency_is_refused_by_name_where_it_cannot_be_scaled(void **state)
{
    struct snapshot *snapshot = *state;
    snapshot->vcpu.tsc_khz = 2 * snapshot->host.tsc_khz;
    snapshot->host.tsc_fraction_bits = 0;
    assert_refused(snapshot, "and its KVM cannot scale it (KVM_CAP_TSC_CONTROL)");
}

static void edited_record_is_refused_by_its_checksum(void **state)
{
    struct snapshot *snapshot = *state;
    struct vmstate_writer writer;
    struct vmstate_reader reader;
    struct host_record loaded;
    struct forkd_error error = {0};
    vmstate_writer_init(&writer);
    host_save(&snapshot->made_on, &writer);
    assert_int_equal(vmstate_writer_finish(&writer, &error), 0);
    assert_int_equal(vmstate_reader_init(&reader, writer.data, writer.length, &error), 0);
    assert_int_equal(host_load(&loaded, &reader, &error), 0);
    assert_memory_equal(&loaded, &snapshot->made_on, sizeof loaded);
    uint8_t *vendor = memmem(writer.data, writer.length, loaded.vendor, 12);
    assert_non_null(vendor);
    memcpy(vendor, "CentaurHauls", 12);
    assert_int_equal(vmstate_reader_init(&reader, writer.data, writer.length, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "vmstate section host 0"));
    vmstate_writer_free(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(own_snapshot_is_taken, make_snapshot, remove_snapshot),
        cmocka_unit_test_setup_teardown(other_vendor_is_refused_by_name, make_snapshot, remove_snapshot),
        cmocka_unit_test_setup_teardown(other_kind_of_kvm_is_refused_by_name, make_snapshot, remove_snapshot),
        cmocka_unit_test_setup_teardown(missing_feature_is_refused_by_name, make_snapshot, remove_snapshot),
        cmocka_unit_test_setup_teardown(another_tsc_frequency_is_refused_by_name_where_it_cannot_be_scaled,
                                        make_snapshot, remove_snapshot),
        cmocka_unit_test_setup_teardown(edited_record_is_refused_by_its_checksum, make_snapshot,
                                        remove_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
