/* SPDX-License-Identifier: Apache-2.0 */
/* Virtqueues and what a hostile driver can put into them. */
#include "driver.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* After what it needs. */
#include <cmocka.h>

#define QUEUE_SIZE 8u
#define MEMORY_BYTES (1u << 20)

/* A queue without a device: the driver's rings, and the device's view of them. */
struct fixture {
    struct driver driver;
    struct virtqueue queue;
    uint64_t buffer;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    driver_open(&f->driver, MEMORY_BYTES);
    struct driver_queue *rings = &f->driver.queues[0];
    rings->desc = driver_allocate(&f->driver, GUEST_PAGE_SIZE);
    rings->avail = driver_allocate(&f->driver, GUEST_PAGE_SIZE);
    rings->used = driver_allocate(&f->driver, GUEST_PAGE_SIZE);
    rings->size = QUEUE_SIZE;
    rings->free_count = QUEUE_SIZE;
    for (uint16_t i = 0; i < QUEUE_SIZE; i++)
        rings->free[i] = (uint16_t)(QUEUE_SIZE - 1 - i);
    f->buffer = driver_allocate(&f->driver, 16 * GUEST_PAGE_SIZE);
    f->queue = (struct virtqueue){.memory = &f->driver.memory, .max_size = VIRTQUEUE_MAX_SIZE};
    virtqueue_reset(&f->queue);
    f->queue.size = QUEUE_SIZE;
    f->queue.desc = rings->desc;
    f->queue.avail = rings->avail;
    f->queue.used = rings->used;
    f->queue.indirect = true;
    assert_true(virtqueue_enable(&f->queue));
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

static void desc(struct fixture *f, uint16_t index, uint64_t address, uint32_t length, uint16_t flags,
                 uint16_t next)
{
    driver_descriptor(&f->driver, 0, index, address, length, flags, next);
}

/* Offer descriptor 0 as a chain and expect the device to refuse it and all that follows. */
static void expect_broken(struct fixture *f)
{
    struct virtqueue_chain chain;
    driver_offer(&f->driver, 0, 0);
    assert_int_equal(virtqueue_pop(&f->queue, &chain), -EPROTO);
    assert_true(f->queue.broken);
    desc(f, 0, f->buffer, 16, 0, 0);
    driver_offer(&f->driver, 0, 0);
    assert_int_equal(virtqueue_pop(&f->queue, &chain), -EPROTO);
    assert_false(virtqueue_wait_kick(&f->queue));
}

static void empty_queue_gives_nothing(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_chain chain;
    assert_int_equal(virtqueue_pop(&f->queue, &chain), 0);
    assert_int_equal(virtqueue_available(&f->queue), 0);
}

static void chain_is_copied_out_in_order(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffers[] = {
        {f->buffer, 16, false}, {f->buffer + 100, 30, false}, {f->buffer + 200, 512, true}};
    uint16_t head = driver_add(&f->driver, 0, buffers, 3);
    struct virtqueue_chain chain;
    assert_int_equal(virtqueue_pop(&f->queue, &chain), 1);
    assert_int_equal(chain.head, head);
    assert_int_equal(chain.readable_count, 2);
    assert_int_equal(chain.writable_count, 1);
    assert_int_equal(chain.readable_bytes, 46);
    assert_int_equal(chain.writable_bytes, 512);
    assert_ptr_equal(chain.iov[0].iov_base, driver_at(&f->driver, f->buffer));
    assert_ptr_equal(chain.iov[1].iov_base, driver_at(&f->driver, f->buffer + 100));
    assert_ptr_equal(chain.iov[2].iov_base, driver_at(&f->driver, f->buffer + 200));
    assert_int_equal(chain.iov[2].iov_len, 512);
}

static void pushed_chain_is_in_the_used_ring(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffer = {f->buffer, 16, true};
    uint16_t head = driver_add(&f->driver, 0, &buffer, 1);
    struct virtqueue_chain chain;
    assert_int_equal(virtqueue_pop(&f->queue, &chain), 1);
    virtqueue_push(&f->queue, chain.head, 7);
    uint16_t used;
    uint32_t length;
    assert_true(driver_collect(&f->driver, 0, &used, &length));
    assert_int_equal(used, head);
    assert_int_equal(length, 7);
}

static void staged_chains_show_together(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffer = {f->buffer, 16, true};
    driver_add(&f->driver, 0, &buffer, 1);
    driver_add(&f->driver, 0, &buffer, 1);
    struct virtqueue_chain first;
    struct virtqueue_chain second;
    assert_int_equal(virtqueue_pop(&f->queue, &first), 1);
    assert_int_equal(virtqueue_pop(&f->queue, &second), 1);
    uint16_t head;
    uint32_t length;
    virtqueue_stage(&f->queue, 0, first.head, 1);
    virtqueue_stage(&f->queue, 1, second.head, 2);
    assert_false(driver_collect(&f->driver, 0, &head, &length));
    virtqueue_publish(&f->queue, 2);
    assert_true(driver_collect(&f->driver, 0, &head, &length));
    assert_int_equal(length, 1);
    assert_true(driver_collect(&f->driver, 0, &head, &length));
    assert_int_equal(length, 2);
}

static void indices_wrap_around(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 70000; i++) {
        struct driver_buffer buffer = {f->buffer, 1 + i % 100, true};
        uint16_t head = driver_add(&f->driver, 0, &buffer, 1);
        struct virtqueue_chain chain;
        assert_int_equal(virtqueue_pop(&f->queue, &chain), 1);
        assert_int_equal(chain.writable_bytes, 1 + i % 100);
        virtqueue_push(&f->queue, chain.head, i);
        uint16_t used;
        uint32_t length;
        assert_true(driver_collect(&f->driver, 0, &used, &length));
        assert_int_equal(used, head);
        assert_int_equal(length, i);
    }
}

static void unpopped_chain_comes_again(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffer = {f->buffer, 16, true};
    uint16_t head = driver_add(&f->driver, 0, &buffer, 1);
    struct virtqueue_chain chain;
    assert_int_equal(virtqueue_pop(&f->queue, &chain), 1);
    virtqueue_unpop(&f->queue);
    assert_int_equal(virtqueue_available(&f->queue), 1);
    assert_int_equal(virtqueue_pop(&f->queue, &chain), 1);
    assert_int_equal(chain.head, head);
}

static void indirect_table_is_followed(void **state)
{
    struct fixture *f = *state;
    uint64_t table = f->buffer + 4096;
    struct vring_desc *entries = driver_at(&f->driver, table);
    entries[0] = (struct vring_desc){f->buffer + 50, 20, VRING_DESC_F_NEXT, 2};
    entries[2] = (struct vring_desc){f->buffer + 90, 30, VRING_DESC_F_WRITE, 0};
    /* virtio 1.2, 2.7.5.3.2: normal descriptors may come before the table. */
    desc(f, 0, f->buffer, 10, VRING_DESC_F_NEXT, 1);
    desc(f, 1, table, 3 * sizeof *entries, VRING_DESC_F_INDIRECT, 0);
    driver_offer(&f->driver, 0, 0);
    struct virtqueue_chain chain;
    assert_int_equal(virtqueue_pop(&f->queue, &chain), 1);
    assert_int_equal(chain.readable_count, 2);
    assert_int_equal(chain.readable_bytes, 30);
    assert_int_equal(chain.writable_bytes, 30);
}

static void indirect_table_at_odd_address_is_followed(void **state)
{
    struct fixture *f = *state;
    uint64_t table = f->buffer + 4097;
    struct vring_desc entry = {f->buffer, 20, 0, 0};
    memcpy(driver_at(&f->driver, table), &entry, sizeof entry);
    desc(f, 0, table, sizeof entry, VRING_DESC_F_INDIRECT, 0);
    driver_offer(&f->driver, 0, 0);
    struct virtqueue_chain chain;
    assert_int_equal(virtqueue_pop(&f->queue, &chain), 1);
    assert_int_equal(chain.readable_bytes, 20);
}

/* Fill an indirect table with `count` one-byte buffers and offer it. */
static int pop_long_table(struct fixture *f, uint16_t count, struct virtqueue_chain *chain)
{
    uint64_t table = f->buffer + 4096;
    struct vring_desc *entries = driver_at(&f->driver, table);
    for (uint16_t i = 0; i < count; i++)
        entries[i] = (struct vring_desc){f->buffer, 1, VRING_DESC_F_NEXT, (uint16_t)(i + 1)};
    entries[count - 1].flags = 0;
    desc(f, 0, table, count * (uint32_t)sizeof *entries, VRING_DESC_F_INDIRECT, 0);
    driver_offer(&f->driver, 0, 0);
    return virtqueue_pop(&f->queue, chain);
}

static void longest_chain_is_taken(void **state)
{
    struct virtqueue_chain chain;
    assert_int_equal(pop_long_table(*state, VIRTQUEUE_MAX_SIZE, &chain), 1);
    assert_int_equal(chain.readable_count, VIRTQUEUE_MAX_SIZE);
}

static void longer_chain_is_refused(void **state)
{
    struct virtqueue_chain chain;
    assert_int_equal(pop_long_table(*state, VIRTQUEUE_MAX_SIZE + 1, &chain), -EPROTO);
}

static void zero_length_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->buffer, 0, 0, 0);
    expect_broken(f);
}

static void address_outside_memory_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, MEMORY_BYTES, 1, 0, 0);
    expect_broken(f);
}

static void buffer_across_the_end_of_memory_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, MEMORY_BYTES - 8, 9, VRING_DESC_F_WRITE, 0);
    expect_broken(f);
}

static void address_that_wraps_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, UINT64_MAX - 3, 8, 0, 0);
    expect_broken(f);
}

static void readable_after_writable_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->buffer, 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
    desc(f, 1, f->buffer, 8, 0, 0);
    expect_broken(f);
}

static void loop_of_descriptors_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->buffer, 8, VRING_DESC_F_NEXT, 1);
    desc(f, 1, f->buffer, 8, VRING_DESC_F_NEXT, 0);
    expect_broken(f);
}

static void descriptor_that_is_its_own_next_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->buffer, 8, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
    expect_broken(f);
}

static void next_out_of_range_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->buffer, 8, VRING_DESC_F_NEXT, QUEUE_SIZE);
    expect_broken(f);
}

static void head_out_of_range_is_refused(void **state)
{
    struct fixture *f = *state;
    struct virtqueue_chain chain;
    driver_offer(&f->driver, 0, QUEUE_SIZE);
    assert_int_equal(virtqueue_pop(&f->queue, &chain), -EPROTO);
}

static void indirect_of_odd_length_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->buffer, 17, VRING_DESC_F_INDIRECT, 0);
    expect_broken(f);
}

static void empty_indirect_table_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->buffer, 0, VRING_DESC_F_INDIRECT, 0);
    expect_broken(f);
}

static void indirect_with_next_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->buffer, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
    desc(f, 1, f->buffer, 16, 0, 0);
    expect_broken(f);
}

static void nested_indirect_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vring_desc *entries = driver_at(&f->driver, f->buffer);
    entries[0] = (struct vring_desc){f->buffer, 16, VRING_DESC_F_INDIRECT, 0};
    desc(f, 0, f->buffer, 16, VRING_DESC_F_INDIRECT, 0);
    expect_broken(f);
}

static void indirect_next_out_of_range_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vring_desc *entries = driver_at(&f->driver, f->buffer);
    entries[0] = (struct vring_desc){f->buffer, 16, VRING_DESC_F_NEXT, 2};
    desc(f, 0, f->buffer, 32, VRING_DESC_F_INDIRECT, 0);
    expect_broken(f);
}

static void indirect_table_outside_memory_is_refused(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, MEMORY_BYTES - 16, 32, VRING_DESC_F_INDIRECT, 0);
    expect_broken(f);
}

static void indirect_that_was_not_negotiated_is_refused(void **state)
{
    struct fixture *f = *state;
    f->queue.indirect = false;
    struct vring_desc *entries = driver_at(&f->driver, f->buffer);
    entries[0] = (struct vring_desc){f->buffer, 16, 0, 0};
    desc(f, 0, f->buffer, 16, VRING_DESC_F_INDIRECT, 0);
    expect_broken(f);
}

static void available_index_too_far_ahead_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vring_avail *avail = driver_at(&f->driver, f->driver.queues[0].avail);
    struct virtqueue_chain chain;
    desc(f, 0, f->buffer, 16, 0, 0);
    avail->idx = QUEUE_SIZE + 1;
    assert_int_equal(virtqueue_pop(&f->queue, &chain), -EPROTO);
}

static void chain_above_32_bits_is_refused(void **state)
{
    (void)state;
    /* Memory that is only reserved; two descriptors of 3 GiB less a page name the same bytes. */
    struct driver driver;
    driver_open(&driver, GUEST_HOLE_START);
    struct virtqueue queue = {.memory = &driver.memory, .max_size = QUEUE_SIZE, .size = QUEUE_SIZE};
    struct driver_queue *rings = &driver.queues[0];
    rings->size = QUEUE_SIZE;
    queue.desc = rings->desc = driver_allocate(&driver, GUEST_PAGE_SIZE);
    queue.avail = rings->avail = driver_allocate(&driver, GUEST_PAGE_SIZE);
    queue.used = rings->used = driver_allocate(&driver, GUEST_PAGE_SIZE);
    assert_true(virtqueue_enable(&queue));
    driver_descriptor(&driver, 0, 0, 0, GUEST_HOLE_START, VRING_DESC_F_NEXT, 1);
    driver_descriptor(&driver, 0, 1, 0, GUEST_HOLE_START, VRING_DESC_F_WRITE, 0);
    driver_offer(&driver, 0, 0);
    struct virtqueue_chain chain;
    assert_int_equal(virtqueue_pop(&queue, &chain), -EPROTO);
    driver_close(&driver);
}

static void buffer_across_the_hole_is_refused(void **state)
{
    (void)state;
    struct driver driver;
    driver_open(&driver, GUEST_HOLE_START + (1u << 20));
    struct virtqueue queue = {.memory = &driver.memory, .max_size = QUEUE_SIZE, .size = QUEUE_SIZE};
    struct driver_queue *rings = &driver.queues[0];
    rings->size = QUEUE_SIZE;
    queue.desc = rings->desc = driver_allocate(&driver, GUEST_PAGE_SIZE);
    queue.avail = rings->avail = driver_allocate(&driver, GUEST_PAGE_SIZE);
    queue.used = rings->used = driver_allocate(&driver, GUEST_PAGE_SIZE);
    assert_true(virtqueue_enable(&queue));
    struct virtqueue_chain chain;
    driver_descriptor(&driver, 0, 0, GUEST_HOLE_END, 4096, 0, 0);
    driver_descriptor(&driver, 0, 1, GUEST_HOLE_START - 1, 2, 0, 0);
    driver_offer(&driver, 0, 0);
    driver_offer(&driver, 0, 1);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    assert_ptr_equal(chain.iov[0].iov_base, driver.memory.host + GUEST_HOLE_START);
    assert_int_equal(virtqueue_pop(&queue, &chain), -EPROTO);
    driver_close(&driver);
}

static void layouts_that_do_not_fit_are_refused(void **state)
{
    struct fixture *f = *state;
    struct virtqueue good = f->queue;
    good.ready = false;
    struct virtqueue bad[] = {good, good, good, good, good, good, good, good};
    bad[0].size = 0;
    bad[1].size = 6;
    bad[2].size = 2 * VIRTQUEUE_MAX_SIZE;
    bad[3].desc += 8;
    bad[4].avail += 1;
    bad[5].used += 2;
    bad[6].used = MEMORY_BYTES - 64;
    bad[7].desc = UINT64_MAX - 15;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(virtqueue_enable(&bad[i]));
    assert_true(virtqueue_enable(&good));
}

static void interrupt_follows_the_flag_without_event_index(void **state)
{
    struct fixture *f = *state;
    struct vring_avail *avail = driver_at(&f->driver, f->driver.queues[0].avail);
    assert_false(virtqueue_interrupt_due(&f->queue));
    virtqueue_push(&f->queue, 0, 0);
    assert_true(virtqueue_interrupt_due(&f->queue));
    assert_false(virtqueue_interrupt_due(&f->queue));
    avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
    virtqueue_push(&f->queue, 0, 0);
    assert_false(virtqueue_interrupt_due(&f->queue));
}

static void interrupt_follows_the_event_index(void **state)
{
    struct fixture *f = *state;
    f->queue.event_idx = true;
    struct vring_avail *avail = driver_at(&f->driver, f->driver.queues[0].avail);
    avail->ring[QUEUE_SIZE] = 1; /* after the second */
    virtqueue_push(&f->queue, 0, 0);
    assert_false(virtqueue_interrupt_due(&f->queue));
    virtqueue_push(&f->queue, 0, 0);
    assert_true(virtqueue_interrupt_due(&f->queue));
    virtqueue_push(&f->queue, 0, 0);
    assert_false(virtqueue_interrupt_due(&f->queue));
}

static void waiting_sets_the_event_index(void **state)
{
    struct fixture *f = *state;
    f->queue.event_idx = true;
    struct driver_buffer buffer = {f->buffer, 16, true};
    struct virtqueue_chain chain;
    driver_add(&f->driver, 0, &buffer, 1);
    assert_int_equal(virtqueue_pop(&f->queue, &chain), 1);
    assert_false(virtqueue_wait_kick(&f->queue));
    assert_int_equal(driver_avail_event(&f->driver, 0), 1);
    driver_add(&f->driver, 0, &buffer, 1);
    assert_true(virtqueue_wait_kick(&f->queue));
}

static void copies_stop_at_the_end_of_the_part(void **state)
{
    struct fixture *f = *state;
    memcpy(driver_at(&f->driver, f->buffer), "abcdef", 6);
    struct driver_buffer buffers[] = {{f->buffer, 2, false},
                                      {f->buffer + 2, 4, false},
                                      {f->buffer + 100, 3, true},
                                      {f->buffer + 200, 3, true}};
    driver_add(&f->driver, 0, buffers, 4);
    struct virtqueue_chain chain;
    char text[16] = "";
    assert_int_equal(virtqueue_pop(&f->queue, &chain), 1);
    assert_int_equal(virtqueue_read(&chain, 1, text, sizeof text), 5);
    assert_string_equal(text, "bcdef");
    assert_int_equal(virtqueue_read(&chain, 6, text, sizeof text), 0);
    assert_int_equal(virtqueue_write(&chain, 2, "12345", 5), 4);
    assert_memory_equal(driver_at(&f->driver, f->buffer + 102), "1", 1);
    assert_memory_equal(driver_at(&f->driver, f->buffer + 200), "234", 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(empty_queue_gives_nothing),
        TEST(chain_is_copied_out_in_order),
        TEST(pushed_chain_is_in_the_used_ring),
        TEST(staged_chains_show_together),
        TEST(indices_wrap_around),
        TEST(unpopped_chain_comes_again),
        TEST(indirect_table_is_followed),
        TEST(indirect_table_at_odd_address_is_followed),
        TEST(longest_chain_is_taken),
        TEST(longer_chain_is_refused),
        TEST(zero_length_is_refused),
        TEST(address_outside_memory_is_refused),
        TEST(buffer_across_the_end_of_memory_is_refused),
        TEST(address_that_wraps_is_refused),
        TEST(readable_after_writable_is_refused),
        TEST(loop_of_descriptors_is_refused),
        TEST(descriptor_that_is_its_own_next_is_refused),
        TEST(next_out_of_range_is_refused),
        TEST(head_out_of_range_is_refused),
        TEST(indirect_of_odd_length_is_refused),
        TEST(empty_indirect_table_is_refused),
        TEST(indirect_with_next_is_refused),
        TEST(nested_indirect_is_refused),
        TEST(indirect_next_out_of_range_is_refused),
        TEST(indirect_table_outside_memory_is_refused),
        TEST(indirect_that_was_not_negotiated_is_refused),
        TEST(available_index_too_far_ahead_is_refused),
        TEST(chain_above_32_bits_is_refused),
        TEST(buffer_across_the_hole_is_refused),
        TEST(layouts_that_do_not_fit_are_refused),
        TEST(interrupt_follows_the_flag_without_event_index),
        TEST(interrupt_follows_the_event_index),
        TEST(waiting_sets_the_event_index),
        TEST(copies_stop_at_the_end_of_the_part),
    };
    return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
