/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables as a kernel walks them: from the RSDP to the XSDT to the rest, every checksum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "machine/acpi.h"
#include "machine/platform.h"

#include <errno.h>
#include <string.h>

#define VCPUS 4
#define SLOTS 28

static uint8_t area[PLATFORM_ACPI_SIZE];

static uint64_t read_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t read_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint8_t sum(const uint8_t *data, size_t length)
{
    uint8_t total = 0;
    while (length-- > 0)
        total = (uint8_t)(total + *data++);
    return total;
}

static const uint8_t *table_at(uint64_t address, const char *signature)
{
    assert_in_range(address, PLATFORM_ACPI, PLATFORM_ACPI + PLATFORM_ACPI_SIZE - 36);
    const uint8_t *table = area + (address - PLATFORM_ACPI);
    assert_memory_equal(table, signature, 4);
    assert_int_equal(sum(table, read_u32(table + 4)), 0);
    return table;
}

static int build(void **state)
{
    (void)state;
    struct forkd_error error;
    memset(area, 0xee, sizeof area);
    return acpi_build(area, sizeof area, PLATFORM_ACPI, VCPUS, SLOTS, &error);
}

static void rsdp_has_both_checksums(void **state)
{
    (void)state;
    assert_memory_equal(area, "RSD PTR ", 8);
    assert_int_equal(sum(area, 20), 0);
    assert_int_equal(sum(area, 36), 0);
}

static void every_table_is_reached_with_its_checksum(void **state)
{
    (void)state;
    const uint8_t *xsdt = table_at(read_u64(area + 24), "XSDT");
    assert_int_equal(read_u32(xsdt + 4), 36 + 2 * 8);
    const uint8_t *fadt = table_at(read_u64(xsdt + 36), "FACP");
    assert_int_equal(read_u32(fadt + 4), 276);
    table_at(read_u64(xsdt + 44), "APIC");
    table_at(read_u64(fadt + 140), "DSDT");
}

static void madt_lists_every_vcpu_and_the_ioapic(void **state)
{
    (void)state;
    const uint8_t *xsdt = table_at(read_u64(area + 24), "XSDT");
    const uint8_t *madt = table_at(read_u64(xsdt + 44), "APIC");
    uint32_t cpus = 0;
    uint32_t ioapics = 0;
    for (uint32_t at = 44; at < read_u32(madt + 4); at += madt[at + 1]) {
        assert_true(madt[at + 1] > 0);
        if (madt[at] == 0)
            assert_int_equal(madt[at + 3], cpus++);
        ioapics += madt[at] == 1;
    }
    assert_int_equal(cpus, VCPUS);
    assert_int_equal(ioapics, 1);
}

static void area_that_is_too_small_is_an_error(void **state)
{
    (void)state;
    struct forkd_error error;
    static uint8_t small[512];
    assert_int_equal(acpi_build(small, sizeof small, PLATFORM_ACPI, 1, 1, &error), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rsdp_has_both_checksums),
        cmocka_unit_test(every_table_is_reached_with_its_checksum),
        cmocka_unit_test(madt_lists_every_vcpu_and_the_ioapic),
        cmocka_unit_test(area_that_is_too_small_is_an_error),
    };
    return cmocka_run_group_tests(tests, build, NULL);
}
