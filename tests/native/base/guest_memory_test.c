/* SPDX-License-Identifier: Apache-2.0 */
/* The one function that turns guest addresses into pointers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/guest_memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* Nothing is dereferenced: any address will do for the host side. */
static uint8_t *const host = (uint8_t *)0x100000000000;
static const struct guest_memory small = {.host = (uint8_t *)0x100000000000, .size = 64ull << 20};
static const struct guest_memory large = {.host = (uint8_t *)0x100000000000, .size = 5ull << 30};

static void addresses_below_the_end_are_mapped(void **state)
{
    (void)state;
    assert_ptr_equal(guest_memory_at(&small, 0, 1), host);
    assert_ptr_equal(guest_memory_at(&small, (64ull << 20) - 1, 1), host + (64ull << 20) - 1);
    assert_ptr_equal(guest_memory_at(&small, 0, 64ull << 20), host);
}

static void memory_above_the_hole_follows_that_below(void **state)
{
    (void)state;
    assert_ptr_equal(guest_memory_at(&large, GUEST_HOLE_END, 1), host + GUEST_HOLE_START);
    assert_ptr_equal(guest_memory_at(&large, GUEST_HOLE_START - 1, 1), host + GUEST_HOLE_START - 1);
    uint64_t last = GUEST_HOLE_END + (5ull << 30) - GUEST_HOLE_START - 1;
    assert_ptr_equal(guest_memory_at(&large, last, 1), host + (5ull << 30) - 1);
    assert_null(guest_memory_at(&large, last, 2));
}

static void ranges_that_leave_memory_are_refused(void **state)
{
    (void)state;
    assert_null(guest_memory_at(&small, 64ull << 20, 1));
    assert_null(guest_memory_at(&small, (64ull << 20) - 1, 2));
    assert_null(guest_memory_at(&small, GUEST_HOLE_END, 1));
    assert_null(guest_memory_at(&large, GUEST_HOLE_START, 1));
    assert_null(guest_memory_at(&large, GUEST_HOLE_START - 1, 2));
    assert_null(guest_memory_at(&large, GUEST_HOLE_END - 1, 1));
}

static void empty_and_wrapping_ranges_are_refused(void **state)
{
    (void)state;
    assert_null(guest_memory_at(&small, 0, 0));
    assert_null(guest_memory_at(&small, 1, UINT64_MAX));
    assert_null(guest_memory_at(&large, UINT64_MAX, 1));
    assert_null(guest_memory_at(&large, UINT64_MAX - 4096, 8192));
    assert_null(guest_memory_at(&large, GUEST_HOLE_END, UINT64_MAX));
}

/* How many mappings there are from `memory` on, and how many of these have a private page. */
static void count_mappings(const struct guest_memory *memory, int *all, int *written)
{
    char line[256];
    bool within = false;
    FILE *file = fopen("/proc/self/smaps", "re");
    assert_non_null(file);
    *all = *written = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long start;
        unsigned long end;
        unsigned long kib;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
            within = start >= (uintptr_t)memory->host && start < (uintptr_t)memory->host + memory->size;
            *all += within;
        } else if (within && sscanf(line, "Anonymous: %lu kB", &kib) == 1) {
            *written += kib > 0;
        }
    }
    fclose(file);
}

static void assert_parts(uint64_t size, int expected)
{
    int fd = memfd_create("memory", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    struct guest_memory memory = {
        .host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0), .size = size};
    assert_true(memory.host != MAP_FAILED);
    int all;
    int written;
    guest_memory_divide(&memory);
    memory.host[size - 1] = 1;
    count_mappings(&memory, &all, &written);
    assert_int_equal(all, expected);
    assert_int_equal(written, 1);
    munmap(memory.host, size);
    close(fd);
}

static void memory_is_divided_into_mappings(void **state)
{
    (void)state;
    assert_parts(64ull << 20, 1);
    assert_parts(128ull << 20, 1);
    assert_parts((128ull << 20) + 4096, 2);
    assert_parts(512ull << 20, 4);
    assert_parts(3ull << 30, 24);
    assert_parts(64ull << 30, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_divided_into_mappings),
        cmocka_unit_test(addresses_below_the_end_are_mapped),
        cmocka_unit_test(memory_above_the_hole_follows_that_below),
        cmocka_unit_test(ranges_that_leave_memory_are_refused),
        cmocka_unit_test(empty_and_wrapping_ranges_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
