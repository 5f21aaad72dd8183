/* SPDX-License-Identifier: Apache-2.0 */
/* The MMIO transport, under a device that only counts what it is asked to do. */
#include "driver.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* After what it needs. */
#include <cmocka.h>

#define QUEUE_SIZE 16u
#define ACKNOWLEDGED (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define FEATURE_A 3u
#define FEATURE_B 40u

/* A device that takes every chain and gives it back. */
struct counter {
    struct virtio_device device;
    uint32_t activations;
    uint32_t resets;
    uint32_t processed[2];
    uint32_t resumed;
    uint8_t config[10];
};

struct fixture {
    struct driver driver;
    struct counter counter;
};

static struct counter *counter_of(struct virtio_device *device)
{
    return container_of(device, struct counter, device);
}

static void activate(struct virtio_device *device)
{
    counter_of(device)->activations++;
}

static void reset(struct virtio_device *device)
{
    counter_of(device)->resets++;
}

static void resume(struct virtio_device *device)
{
    counter_of(device)->resumed++;
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data, uint32_t length)
{
    struct counter *counter = counter_of(device);
    virtio_copy_config(counter->config, sizeof counter->config, offset, data, length);
}

static void write_config(struct virtio_device *device, uint32_t offset, const void *data, uint32_t length)
{
    struct counter *counter = counter_of(device);
    assert_true(offset + length <= sizeof counter->config);
    memcpy(counter->config + offset, data, length);
}

static void process(struct virtio_device *device, uint16_t index)
{
    struct virtqueue_chain chain;
    int result;
    counter_of(device)->processed[index]++;
    while ((result = virtqueue_pop(&device->queues[index], &chain)) > 0)
        virtqueue_push(&device->queues[index], chain.head, 0);
    virtio_interrupt(device, index);
    if (result < 0)
        virtio_fail(device);
}

static const struct virtio_ops counter_ops = {
    .name = "counter",
    .id = 42,
    .queue_count = 2,
    .activate = activate,
    .reset = reset,
    .read_config = read_config,
    .write_config = write_config,
    .process = process,
    .resume = resume,
};

static void init(struct fixture *f, struct counter *counter)
{
    memset(counter, 0, sizeof *counter);
    virtio_init(&counter->device, &counter_ops, &f->driver.machine, DRIVER_GSI,
                DRIVER_FEATURE(FEATURE_A) | DRIVER_FEATURE(FEATURE_B), QUEUE_SIZE);
    memcpy(counter->config, "0123456789", 10);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    driver_open(&f->driver, 1u << 20);
    init(f, &f->counter);
    f->driver.device = &f->counter.device;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    driver_close(&f->driver);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    driver_start(&f->driver, &f->counter.device, DRIVER_FEATURE(FEATURE_A), QUEUE_SIZE);
}

/* Put one buffer into queue 0 and let the device take it. */
static void exchange(struct fixture *f)
{
    struct driver_buffer buffer = {driver_allocate(&f->driver, 16), 16, true};
    driver_add(&f->driver, 0, &buffer, 1);
    driver_kick(&f->driver, 0);
}

static void identification_is_as_specified(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_DEVICE_ID), 42);
}

static void features_are_offered_in_halves(void **state)
{
    struct fixture *f = *state;
    const uint32_t expected[3] = {1u << FEATURE_A | 1u << VIRTIO_RING_F_EVENT_IDX |
                                      1u << VIRTIO_RING_F_INDIRECT_DESC,
                                  1u << (FEATURE_B - 32) | 1u << (VIRTIO_F_VERSION_1 - 32), 0};
    for (uint32_t half = 0; half < 3; half++) {
        driver_write(&f->driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
        assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_DEVICE_FEATURES), expected[half]);
    }
}

static uint32_t status_after_choosing(struct fixture *f, uint32_t low, uint32_t high)
{
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, 0);
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, ACKNOWLEDGED);
    driver_write(&f->driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    driver_write(&f->driver, VIRTIO_MMIO_DRIVER_FEATURES, low);
    driver_write(&f->driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    driver_write(&f->driver, VIRTIO_MMIO_DRIVER_FEATURES, high);
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, ACKNOWLEDGED | VIRTIO_CONFIG_S_FEATURES_OK);
    return driver_read(&f->driver, VIRTIO_MMIO_STATUS);
}

static void features_that_were_not_offered_are_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t version_1 = 1u << (VIRTIO_F_VERSION_1 - 32);
    assert_int_equal(status_after_choosing(f, 1u << FEATURE_A, version_1),
                     ACKNOWLEDGED | VIRTIO_CONFIG_S_FEATURES_OK);
    assert_int_equal(status_after_choosing(f, 1u << 4, version_1), ACKNOWLEDGED);
    assert_int_equal(status_after_choosing(f, 0, version_1 | 1u << 31), ACKNOWLEDGED);
    /* A legacy driver. */
    assert_int_equal(status_after_choosing(f, 1u << FEATURE_A, 0), ACKNOWLEDGED);
}

static void features_are_final_with_features_ok(void **state)
{
    struct fixture *f = *state;
    status_after_choosing(f, 1u << FEATURE_A, 1u << (VIRTIO_F_VERSION_1 - 32));
    driver_write(&f->driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    driver_write(&f->driver, VIRTIO_MMIO_DRIVER_FEATURES, 0xffffffff);
    assert_true(virtio_has_feature(&f->counter.device, FEATURE_A));
    assert_false(virtio_has_feature(&f->counter.device, 4));
}

static void driver_ok_without_features_ok_is_ignored(void **state)
{
    struct fixture *f = *state;
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, ACKNOWLEDGED | VIRTIO_CONFIG_S_DRIVER_OK);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_STATUS), ACKNOWLEDGED);
    assert_int_equal(f->counter.activations, 0);
}

static void driver_ok_activates_once(void **state)
{
    struct fixture *f = *state;
    start(f);
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, driver_read(&f->driver, VIRTIO_MMIO_STATUS));
    assert_int_equal(f->counter.activations, 1);
}

static void driver_cannot_set_needs_reset(void **state)
{
    struct fixture *f = *state;
    start(f);
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, 0xffffff7f);
    assert_true(virtio_active(&f->counter.device));
}

static void notify_wakes_the_loop_and_is_processed_there(void **state)
{
    struct fixture *f = *state;
    start(f);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    assert_true(f->driver.woken);
    assert_int_equal(f->counter.processed[1], 0);
    driver_run(&f->driver, 0);
    assert_int_equal(f->counter.processed[0], 0);
    assert_int_equal(f->counter.processed[1], 1);
}

static void notify_before_driver_ok_is_processed_after_it(void **state)
{
    struct fixture *f = *state;
    driver_negotiate(&f->driver, &f->counter.device, 0);
    driver_setup_queue(&f->driver, 0, QUEUE_SIZE);
    exchange(f);
    assert_int_equal(f->counter.processed[0], 0);
    driver_write(&f->driver, VIRTIO_MMIO_STATUS,
                 ACKNOWLEDGED | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
    assert_true(f->driver.woken);
    driver_run(&f->driver, 0);
    assert_int_equal(f->counter.processed[0], 1);
}

static void notify_of_no_queue_is_ignored(void **state)
{
    struct fixture *f = *state;
    start(f);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_NOTIFY, 0xffffffff);
    assert_false(f->driver.woken);
    assert_int_equal(f->counter.device.kicked, 0);
}

static void interrupt_is_level_triggered(void **state)
{
    struct fixture *f = *state;
    start(f);
    exchange(f);
    exchange(f);
    assert_true(f->driver.irq);
    assert_int_equal(f->driver.irq_calls, 1);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
    virtio_config_changed(&f->counter.device);
    driver_write(&f->driver, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    assert_true(f->driver.irq);
    driver_write(&f->driver, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
    assert_false(f->driver.irq);
    driver_write(&f->driver, VIRTIO_MMIO_INTERRUPT_ACK, 3);
    assert_int_equal(f->driver.irq_calls, 2);
}

static void broken_driver_has_to_reset(void **state)
{
    struct fixture *f = *state;
    start(f);
    driver_offer(&f->driver, 0, QUEUE_SIZE);
    driver_kick(&f->driver, 0);
    assert_true(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
    driver_kick(&f->driver, 1);
    assert_int_equal(f->counter.processed[1], 0);
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_STATUS), 0);
    assert_false(f->driver.irq);
    start(f);
    exchange(f);
    assert_int_equal(f->counter.processed[0], 2);
}

static void reset_forgets_everything(void **state)
{
    struct fixture *f = *state;
    start(f);
    exchange(f);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    f->counter.resets = 0;
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(f->counter.resets, 1);
    assert_false(f->driver.irq);
    driver_run(&f->driver, 0);
    assert_int_equal(f->counter.processed[1], 0);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_SEL, 0);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_QUEUE_READY), 0);
    assert_false(virtio_has_feature(&f->counter.device, FEATURE_A));
}

static void queue_cannot_be_moved_while_ready(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct virtqueue before = f->counter.device.queues[0];
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_SEL, 0);
    for (uint32_t offset = VIRTIO_MMIO_QUEUE_DESC_LOW; offset <= VIRTIO_MMIO_QUEUE_USED_HIGH; offset += 4)
        driver_write(&f->driver, offset, 0xffffffff);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_NUM, 1);
    assert_memory_equal(&before, &f->counter.device.queues[0], sizeof before);
    exchange(f);
    assert_true(f->driver.irq);
}

static void queue_outside_memory_does_not_get_ready(void **state)
{
    struct fixture *f = *state;
    driver_negotiate(&f->driver, &f->counter.device, 0);
    driver_setup_queue(&f->driver, 0, QUEUE_SIZE);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_QUEUE_READY), 0);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_USED_HIGH, 1);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_READY, 1);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void queue_of_bad_size_does_not_get_ready(void **state)
{
    struct fixture *f = *state;
    const uint32_t sizes[] = {0, 3, 2 * QUEUE_SIZE, 0x10000 + QUEUE_SIZE};
    driver_negotiate(&f->driver, &f->counter.device, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        driver_setup_queue(&f->driver, 0, QUEUE_SIZE);
        driver_write(&f->driver, VIRTIO_MMIO_QUEUE_READY, 0);
        driver_write(&f->driver, VIRTIO_MMIO_QUEUE_NUM, sizes[i]);
        driver_write(&f->driver, VIRTIO_MMIO_QUEUE_READY, 1);
        assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_QUEUE_READY), 0);
    }
}

static void queue_that_does_not_exist_reads_zero(void **state)
{
    struct fixture *f = *state;
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_SEL, 2);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_NUM, 1);
    driver_write(&f->driver, VIRTIO_MMIO_QUEUE_READY, 1);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void registers_take_only_words(void **state)
{
    struct fixture *f = *state;
    const uint32_t lengths[] = {1, 2, 8};
    for (size_t i = 0; i < 3; i++) {
        uint64_t value = UINT64_MAX;
        virtio_mmio_read(f->driver.device, VIRTIO_MMIO_MAGIC_VALUE, &value, lengths[i]);
        assert_int_equal(value & (lengths[i] == 8 ? UINT64_MAX : (1ull << (8 * lengths[i])) - 1), 0);
        value = ACKNOWLEDGED;
        virtio_mmio_write(f->driver.device, VIRTIO_MMIO_STATUS, &value, lengths[i]);
        assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_STATUS), 0);
    }
    /* Not aligned, and write-only. */
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_MAGIC_VALUE + 2), 0);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_QUEUE_NOTIFY), 0);
}

static void configuration_is_read_in_any_width(void **state)
{
    struct fixture *f = *state;
    uint64_t value = 0;
    virtio_mmio_read(f->driver.device, VIRTIO_MMIO_CONFIG + 3, &value, 1);
    assert_int_equal(value, '3');
    virtio_mmio_read(f->driver.device, VIRTIO_MMIO_CONFIG, &value, 8);
    assert_memory_equal(&value, "01234567", 8);
    virtio_mmio_read(f->driver.device, VIRTIO_MMIO_CONFIG + 8, &value, 8);
    assert_memory_equal(&value, "89\0\0\0\0\0\0", 8);
    virtio_mmio_read(f->driver.device, 0xffc, &value, 8);
    assert_int_equal(value, 0);
    virtio_mmio_write(f->driver.device, VIRTIO_MMIO_CONFIG + 4, "xy", 2);
    assert_memory_equal(f->counter.config, "0123xy6789", 10);
}

static void changed_configuration_has_a_new_generation(void **state)
{
    struct fixture *f = *state;
    start(f);
    uint32_t before = driver_read(&f->driver, VIRTIO_MMIO_CONFIG_GENERATION);
    virtio_config_changed(&f->counter.device);
    assert_int_not_equal(driver_read(&f->driver, VIRTIO_MMIO_CONFIG_GENERATION), before);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
}

static void state_goes_through_the_battery(void **state)
{
    struct fixture *f = *state;
    struct counter fresh;
    start(f);
    init(f, &fresh);
    driver_state_battery(&f->counter.device, &fresh.device);
    assert_int_equal(fresh.activations, 0);
    assert_int_equal(fresh.resumed, 0);
}

static void restore_touches_no_interrupt_and_resume_raises_it(void **state)
{
    struct fixture *f = *state;
    struct counter child;
    struct vmstate_writer saved;
    start(f);
    exchange(f);
    driver_save(&f->counter.device, &saved);
    uint32_t calls = f->driver.irq_calls;
    init(f, &child);
    assert_int_equal(driver_restore(&child.device, &saved), 0);
    assert_int_equal(f->driver.irq_calls, calls);
    f->driver.irq = false; /* a new machine */
    virtio_resume(&child.device);
    assert_true(f->driver.irq);
    assert_int_equal(child.resumed, 1);
    assert_int_equal(child.processed[0], 1);
    assert_int_equal(child.processed[1], 1);
    f->driver.device = &child.device;
    exchange(f);
    assert_int_equal(child.processed[0], 2);
    assert_int_equal(f->driver.queues[0].avail_index, child.device.queues[0].next_used);
    vmstate_writer_free(&saved);
}

static void running_device_can_be_put_back(void **state)
{
    struct fixture *f = *state;
    struct vmstate_writer saved;
    struct vmstate_writer again;
    start(f);
    driver_save(&f->counter.device, &saved);
    exchange(f);
    assert_true(f->driver.irq);
    assert_int_equal(driver_restore(&f->counter.device, &saved), 0);
    assert_false(f->driver.irq);
    driver_save(&f->counter.device, &again);
    assert_int_equal(again.length, saved.length);
    assert_memory_equal(again.data, saved.data, saved.length);
    vmstate_writer_free(&again);
    vmstate_writer_free(&saved);
}

/* Save the device with one field spoiled, and expect a fresh one to refuse it. */
static void expect_refused(struct fixture *f, const struct virtio_device *spoiled)
{
    struct vmstate_writer saved;
    struct counter fresh;
    init(f, &fresh);
    driver_save(spoiled, &saved);
    assert_int_equal(driver_restore(&fresh.device, &saved), -EBADMSG);
    assert_int_equal(fresh.device.status, 0);
    assert_false(fresh.device.queues[0].ready);
    vmstate_writer_free(&saved);
}

static void impossible_states_are_refused(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct virtio_device good = f->counter.device;
    struct virtio_device bad = good;
    bad.status |= 16;
    expect_refused(f, &bad);
    bad = good;
    bad.status = ACKNOWLEDGED | VIRTIO_CONFIG_S_DRIVER_OK;
    expect_refused(f, &bad);
    bad = good;
    bad.driver_features |= DRIVER_FEATURE(4);
    expect_refused(f, &bad);
    bad = good;
    bad.driver_features = 0;
    expect_refused(f, &bad);
    bad = good;
    bad.interrupt_status = 4;
    expect_refused(f, &bad);
    bad = good;
    bad.kicked = 4;
    expect_refused(f, &bad);
    bad = good;
    bad.queues[1].size = 2 * QUEUE_SIZE;
    expect_refused(f, &bad);
    bad = good;
    bad.queues[0].used = f->driver.memory.size - 8;
    expect_refused(f, &bad);
    bad = good;
    bad.queues[0].desc += 1;
    expect_refused(f, &bad);
}

static void state_of_another_device_is_not_found(void **state)
{
    struct fixture *f = *state;
    struct vmstate_writer saved;
    struct vmstate_reader reader;
    driver_save(&f->counter.device, &saved);
    assert_int_equal(vmstate_reader_init(&reader, saved.data, saved.length, NULL), 0);
    struct forkd_error err;
    assert_int_equal(virtio_restore(&f->counter.device, 1, &reader, &err), -ENOENT);
    vmstate_writer_free(&saved);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(identification_is_as_specified),
        TEST(features_are_offered_in_halves),
        TEST(features_that_were_not_offered_are_refused),
        TEST(features_are_final_with_features_ok),
        TEST(driver_ok_without_features_ok_is_ignored),
        TEST(driver_ok_activates_once),
        TEST(driver_cannot_set_needs_reset),
        TEST(notify_wakes_the_loop_and_is_processed_there),
        TEST(notify_before_driver_ok_is_processed_after_it),
        TEST(notify_of_no_queue_is_ignored),
        TEST(interrupt_is_level_triggered),
        TEST(broken_driver_has_to_reset),
        TEST(reset_forgets_everything),
        TEST(queue_cannot_be_moved_while_ready),
        TEST(queue_outside_memory_does_not_get_ready),
        TEST(queue_of_bad_size_does_not_get_ready),
        TEST(queue_that_does_not_exist_reads_zero),
        TEST(registers_take_only_words),
        TEST(configuration_is_read_in_any_width),
        TEST(changed_configuration_has_a_new_generation),
        TEST(state_goes_through_the_battery),
        TEST(restore_touches_no_interrupt_and_resume_raises_it),
        TEST(running_device_can_be_put_back),
        TEST(impossible_states_are_refused),
        TEST(state_of_another_device_is_not_found),
    };
    return cmocka_run_group_tests_name("virtio", tests, NULL, NULL);
}
