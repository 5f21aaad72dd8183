/* SPDX-License-Identifier: Apache-2.0 */
/* The last MiB of two outputs, against all that was ever written to them. */
#include "streams/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
/* After what it needs. */
#include <cmocka.h>

#define WRITTEN_MAX ((size_t)64 << 20)

/* All bytes, and of which output each is. */
struct written {
    unsigned char *data;
    unsigned char *output;
    size_t length;
};

static uint32_t next_random(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static void write_some(struct log *log, struct written *all, int output, size_t length)
{
    struct iovec parts[2];
    int count = log_space(log, length, parts);
    for (int i = 0; i < count; i++)
        for (size_t at = 0; at < parts[i].iov_len; at++) {
            unsigned char byte = (unsigned char)next_random();
            ((unsigned char *)parts[i].iov_base)[at] = byte;
            all->data[all->length] = byte;
            all->output[all->length++] = (unsigned char)output;
        }
    log_add(log, output, length);
}

/* Reads `length` bytes at most, and compares them. How many there were. */
static size_t read_some(const struct log *log, struct log_cursor *cursor, const uint64_t from[2],
                        const struct written *all, size_t most)
{
    struct iovec parts[2];
    int output;
    size_t length = log_next(log, cursor, from, most, &output);
    size_t at = (size_t)cursor->byte;
    int count = length > 0 ? log_pieces(log, cursor, length, parts) : 0;
    bool same = true;
    for (int i = 0; i < count; i++) {
        assert_memory_equal(parts[i].iov_base, all->data + at, parts[i].iov_len);
        for (size_t byte = 0; byte < parts[i].iov_len; byte++)
            same = same && all->output[at + byte] == output;
        at += parts[i].iov_len;
    }
    assert_true(same);
    if (length > 0)
        log_used(log, cursor, length);
    return length;
}

static void check_offsets(const struct log *log, const struct written *all)
{
    uint64_t offset[2] = {0};
    for (size_t i = 0; i < log->oldest.byte; i++)
        offset[all->output[i]]++;
    assert_int_equal(log->oldest.offset[LOG_OUT], offset[LOG_OUT]);
    assert_int_equal(log->oldest.offset[LOG_ERR], offset[LOG_ERR]);
    assert_int_equal(log->end.byte, all->length);
}

static void begin(struct log *log, struct written *all)
{
    assert_int_equal(log_init(log), 0);
    *all = (struct written){.data = malloc(WRITTEN_MAX), .output = malloc(WRITTEN_MAX)};
}

static void finish(struct log *log, struct written *all)
{
    log_free(log);
    free(all->data);
    free(all->output);
}

static void what_is_kept_is_the_last_mib(void **state)
{
    (void)state;
    static const uint64_t all_of_it[2];
    struct log log;
    struct written all;
    begin(&log, &all);
    for (int i = 0; i < 400; i++) {
        write_some(&log, &all, (int)(next_random() % 2), 1 + next_random() % 100000);
        struct log_cursor cursor = log.oldest;
        assert_int_equal(log.end.byte - log.oldest.byte, all.length < LOG_SIZE ? all.length : LOG_SIZE);
        while (read_some(&log, &cursor, all_of_it, &all, 70000) > 0)
            ;
        assert_int_equal(cursor.byte, all.length);
        assert_memory_equal(cursor.offset, log.end.offset, sizeof cursor.offset);
    }
    check_offsets(&log, &all);
    finish(&log, &all);
}

/* Of one output alone, more than one stretch can have. */
static void one_output_goes_on_for_ever(void **state)
{
    (void)state;
    static const uint64_t all_of_it[2];
    struct log log;
    struct written all;
    begin(&log, &all);
    struct log_cursor cursor = log.oldest;
    for (int i = 0; i < 500; i++) {
        write_some(&log, &all, LOG_ERR, 100000);
        while (read_some(&log, &cursor, all_of_it, &all, 65536) > 0)
            ;
    }
    check_offsets(&log, &all);
    finish(&log, &all);
}

/* A byte each, by turns: less than a MiB is kept, and it is whole. */
static void more_stretches_than_there_is_room_for(void **state)
{
    (void)state;
    static const uint64_t all_of_it[2];
    struct log log;
    struct written all;
    begin(&log, &all);
    for (int i = 0; i < 100000; i++)
        write_some(&log, &all, i % 2, 1);
    struct log_cursor cursor = log.oldest;
    assert_in_range(all.length - cursor.byte, 10000, 20000);
    check_offsets(&log, &all);
    while (read_some(&log, &cursor, all_of_it, &all, 65536) > 0)
        ;
    assert_int_equal(cursor.byte, all.length);
    finish(&log, &all);
}

static void nobody_is_overtaken(void **state)
{
    (void)state;
    static const uint64_t all_of_it[2];
    struct log log;
    struct written all;
    begin(&log, &all);
    struct log_cursor slow = log.oldest;
    struct log_cursor fast = log.oldest;
    for (int i = 0; i < 60000; i++) {
        size_t length = i % 3000 < 2900 ? 1 : 1 + next_random() % 50000;
        size_t room = log_room(&log, &slow);
        if (length > room)
            length = room;
        if (length > 0)
            write_some(&log, &all, i % 2, length);
        while (read_some(&log, &fast, all_of_it, &all, 65536) > 0)
            ;
        if (i % 2 == 0 || length == 0)
            read_some(&log, &slow, all_of_it, &all, 1 + next_random() % 40000);
    }
    while (read_some(&log, &slow, all_of_it, &all, 65536) > 0)
        ;
    assert_int_equal(slow.byte, all.length);
    assert_int_equal(fast.byte, all.length);
    finish(&log, &all);
}

static void who_begins_later_gets_what_is_asked_for(void **state)
{
    (void)state;
    struct log log;
    struct written all;
    begin(&log, &all);
    for (int i = 0; i < 100; i++)
        write_some(&log, &all, i % 2, 1000);
    const uint64_t from[2] = {20500, 49999};
    struct log_cursor cursor = log.oldest;
    uint64_t total[2] = {0};
    int output;
    for (size_t got; (got = log_next(&log, &cursor, from, 65536, &output)) > 0;) {
        assert_true(cursor.offset[output] >= from[output]);
        total[output] += got;
        log_used(&log, &cursor, got);
    }
    assert_int_equal(total[LOG_OUT], 50000 - 20500);
    assert_int_equal(total[LOG_ERR], 1);
    finish(&log, &all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_the_last_mib),
        cmocka_unit_test(one_output_goes_on_for_ever),
        cmocka_unit_test(more_stretches_than_there_is_room_for),
        cmocka_unit_test(nobody_is_overtaken),
        cmocka_unit_test(who_begins_later_gets_what_is_asked_for),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
