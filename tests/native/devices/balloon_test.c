/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon device, which takes reports of free pages. */
#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

enum { INFLATE, DEFLATE, REPORTING };
#define QUEUE_SIZE 8u
#define PAGES 4u
#define BYTES (PAGES * GUEST_PAGE_SIZE)

struct fixture {
    struct driver driver;
    struct virtio_device *device;
    uint64_t pages;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    driver_open(&f->driver, 1u << 20);
    assert_int_equal(balloon_create(&f->device, &f->driver.machine, DRIVER_GSI, NULL), 0);
    driver_start(&f->driver, f->device,
                 DRIVER_FEATURE(VIRTIO_RING_F_EVENT_IDX) | DRIVER_FEATURE(VIRTIO_BALLOON_F_REPORTING),
                 QUEUE_SIZE);
    assert_true(f->driver.features & DRIVER_FEATURE(VIRTIO_BALLOON_F_REPORTING));
    f->pages = driver_allocate(&f->driver, BYTES);
    memset(driver_at(&f->driver, f->pages), 0xaa, BYTES);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    f->device->ops->close(f->device);
    driver_close(&f->driver);
    free(f);
    return 0;
}

static uint32_t send(struct fixture *f, uint16_t queue, const struct driver_buffer *buffers, uint16_t count)
{
    uint16_t head;
    uint32_t length = 1;
    driver_add(&f->driver, queue, buffers, count);
    driver_kick(&f->driver, queue);
    assert_true(driver_collect(&f->driver, queue, &head, &length));
    return length;
}

/* All bytes of a page are that; whether it is in memory at all. */
static bool page_is(const struct fixture *f, uint32_t page, uint8_t value, bool *present)
{
    uint8_t *at = driver_at(&f->driver, f->pages + page * GUEST_PAGE_SIZE);
    unsigned char core;
    assert_int_equal(mincore(at, GUEST_PAGE_SIZE, &core), 0);
    *present = (core & 1) != 0;
    for (uint32_t i = 0; i < GUEST_PAGE_SIZE; i++) {
        if (at[i] != value)
            return false;
    }
    return true;
}

static void reported_pages_are_given_back(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffers[] = {{f->pages, GUEST_PAGE_SIZE, true},
                                      {f->pages + 2 * GUEST_PAGE_SIZE, 2 * GUEST_PAGE_SIZE, true}};
    assert_int_equal(send(f, REPORTING, buffers, 2), 0);
    assert_true(f->driver.irq);
    for (uint32_t page = 0; page < PAGES; page++) {
        bool present;
        assert_true(page_is(f, page, page == 1 ? 0xaa : 0, &present));
        assert_int_equal(present, page == 1);
    }
}

/* A child's memory is a private mapping of its snapshot's. */
static void a_reported_page_is_the_snapshots_again(void **state)
{
    struct fixture *f = *state;
    int fd = memfd_create("snapshot", MFD_CLOEXEC);
    uint8_t page[GUEST_PAGE_SIZE];
    memset(page, 0x55, sizeof page);
    assert_int_equal(write(fd, page, sizeof page), sizeof page);
    uint8_t *at = driver_at(&f->driver, f->pages);
    assert_ptr_equal(mmap(at, GUEST_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0), at);
    close(fd);
    *at = 0;
    struct driver_buffer buffer = {f->pages, GUEST_PAGE_SIZE, true};
    send(f, REPORTING, &buffer, 1);
    bool present;
    assert_true(page_is(f, 0, 0x55, &present));
}

static void only_whole_pages_are_given_back(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffers[] = {{f->pages + 1, 2 * GUEST_PAGE_SIZE, true},
                                      {f->pages + 3 * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE - 1, true}};
    send(f, REPORTING, buffers, 2);
    for (uint32_t page = 0; page < PAGES; page++) {
        bool present;
        assert_true(page_is(f, page, page == 1 ? 0 : 0xaa, &present));
    }
}

static void assert_failed(struct fixture *f)
{
    assert_true(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
    bool present;
    assert_true(page_is(f, 0, 0xaa, &present));
}

/* Or a branch that is being copied would copy all that the guest does not use. */
static void a_reported_page_is_not_noted_as_written(void **state)
{
    struct fixture *f = *state;
    uint64_t noted[(1u << 20) / GUEST_PAGE_SIZE / 64] = {0};
    f->driver.memory.noted = noted;
    struct driver_buffer buffer = {f->pages, BYTES, true};
    send(f, REPORTING, &buffer, 1);
    f->driver.memory.noted = NULL;
    int count = 0;
    for (size_t i = 0; i < sizeof noted / sizeof noted[0]; i++)
        count += __builtin_popcountll(noted[i]);
    assert_in_range(count, 1, 2); /* the queue itself */
    for (uint64_t page = f->pages / GUEST_PAGE_SIZE, end = page + PAGES; page < end; page++)
        assert_false(noted[page / 64] >> page % 64 & 1);
}

static void a_report_to_read_fails_the_device(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffer = {f->pages, GUEST_PAGE_SIZE, false};
    driver_add(&f->driver, REPORTING, &buffer, 1);
    driver_kick(&f->driver, REPORTING);
    assert_failed(f);
}

static void a_report_beyond_memory_fails_the_device(void **state)
{
    struct fixture *f = *state;
    driver_descriptor(&f->driver, REPORTING, 0, f->driver.memory.size - GUEST_PAGE_SIZE, 2 * GUEST_PAGE_SIZE,
                      VRING_DESC_F_WRITE, 0);
    driver_offer(&f->driver, REPORTING, 0);
    driver_kick(&f->driver, REPORTING);
    assert_failed(f);
}

static void nothing_is_asked_of_the_balloon(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_CONFIG), 0);
    uint64_t list = driver_allocate(&f->driver, GUEST_PAGE_SIZE);
    uint32_t number = (uint32_t)(f->pages / GUEST_PAGE_SIZE);
    memcpy(driver_at(&f->driver, list), &number, sizeof number);
    struct driver_buffer buffer = {list, sizeof number, false};
    assert_int_equal(send(f, INFLATE, &buffer, 1), 0);
    assert_int_equal(send(f, DEFLATE, &buffer, 1), 0);
    bool present;
    assert_true(page_is(f, 0, 0xaa, &present));
}

static void state_goes_through_the_battery(void **state)
{
    struct fixture *f = *state;
    struct virtio_device *fresh;
    assert_int_equal(balloon_create(&fresh, &f->driver.machine, DRIVER_GSI, NULL), 0);
    driver_state_battery(f->device, fresh);
    fresh->ops->close(fresh);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(reported_pages_are_given_back),          TEST(a_reported_page_is_not_noted_as_written),
        TEST(a_reported_page_is_the_snapshots_again), TEST(only_whole_pages_are_given_back),
        TEST(a_report_to_read_fails_the_device),      TEST(a_report_beyond_memory_fails_the_device),
        TEST(nothing_is_asked_of_the_balloon),        TEST(state_goes_through_the_battery),
    };
    return cmocka_run_group_tests_name("balloon", tests, NULL, NULL);
}
