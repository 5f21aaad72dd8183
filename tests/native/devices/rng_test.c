/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device. */
#include "driver.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* After what it needs. */
#include <cmocka.h>

#define QUEUE_SIZE 8u

struct fixture {
    struct driver driver;
    struct virtio_device *device;
    uint64_t buffer;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    driver_open(&f->driver, 1u << 20);
    assert_int_equal(rng_create(&f->device, &f->driver.machine, DRIVER_GSI, NULL), 0);
    driver_start(&f->driver, f->device, DRIVER_FEATURE(VIRTIO_RING_F_EVENT_IDX), QUEUE_SIZE);
    f->buffer = driver_allocate(&f->driver, 128 * 1024);
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

static uint32_t request(struct fixture *f, const struct driver_buffer *buffers, uint16_t count)
{
    uint16_t head;
    uint32_t length = 0;
    driver_add(&f->driver, 0, buffers, count);
    driver_kick(&f->driver, 0);
    assert_true(driver_collect(&f->driver, 0, &head, &length));
    return length;
}

static void buffers_are_filled(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeroes[64];
    struct driver_buffer buffers[] = {{f->buffer, 64, true}, {f->buffer + 4096, 32, true}};
    assert_int_equal(request(f, buffers, 2), 96);
    assert_memory_not_equal(driver_at(&f->driver, f->buffer), zeroes, 64);
    assert_memory_not_equal(driver_at(&f->driver, f->buffer + 4096), zeroes, 32);
    assert_memory_equal(driver_at(&f->driver, f->buffer + 64), zeroes, 64);
    assert_true(f->driver.irq);
}

static void two_requests_get_different_bytes(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffer = {f->buffer, 64, true};
    uint8_t first[64];
    assert_int_equal(request(f, &buffer, 1), 64);
    memcpy(first, driver_at(&f->driver, f->buffer), 64);
    assert_int_equal(request(f, &buffer, 1), 64);
    assert_memory_not_equal(driver_at(&f->driver, f->buffer), first, 64);
}

static void large_request_is_cut(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffer = {f->buffer, 128 * 1024, true};
    assert_int_equal(request(f, &buffer, 1), 65536);
}

static void readable_buffer_fails_the_device(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffer = {f->buffer, 64, false};
    driver_add(&f->driver, 0, &buffer, 1);
    driver_kick(&f->driver, 0);
    assert_true(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void hostile_chain_fails_the_device(void **state)
{
    struct fixture *f = *state;
    driver_descriptor(&f->driver, 0, 0, f->driver.memory.size, 64, VRING_DESC_F_WRITE, 0);
    driver_offer(&f->driver, 0, 0);
    driver_kick(&f->driver, 0);
    assert_true(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void there_is_no_configuration(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_CONFIG), 0);
}

static void state_goes_through_the_battery(void **state)
{
    struct fixture *f = *state;
    struct virtio_device *fresh;
    assert_int_equal(rng_create(&fresh, &f->driver.machine, DRIVER_GSI, NULL), 0);
    driver_state_battery(f->device, fresh);
    fresh->ops->close(fresh);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(buffers_are_filled),
        TEST(two_requests_get_different_bytes),
        TEST(large_request_is_cut),
        TEST(readable_buffer_fails_the_device),
        TEST(hostile_chain_fails_the_device),
        TEST(there_is_no_configuration),
        TEST(state_goes_through_the_battery),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
