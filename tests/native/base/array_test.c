/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/array.h"

static void elements_survive_growth(void **state)
{
    (void)state;
    uint32_t *items = NULL;
    uint64_t capacity = 0;
    uint64_t moves = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        uint64_t before = capacity;
        items = array_room(items, i + 1, &capacity, sizeof *items);
        assert_non_null(items);
        moves += capacity != before;
        items[i] = i;
    }
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(items[i], i);
    assert_in_range(moves, 1, 16);
    free(items);
}

static void many_at_once_find_room(void **state)
{
    (void)state;
    uint64_t capacity = 0;
    uint8_t *items = array_room(NULL, 1000, &capacity, 1);
    assert_non_null(items);
    assert_in_range(capacity, 1000, 2000);
    free(items);
}

static void more_than_there_is_leaves_it_as_it_was(void **state)
{
    (void)state;
    uint64_t capacity = 0;
    uint64_t *items = array_room(NULL, 1, &capacity, sizeof *items);
    assert_non_null(items);
    items[0] = 7;
    uint64_t before = capacity;
    assert_null(array_room(items, UINT64_MAX / 2, &capacity, sizeof *items));
    assert_int_equal(capacity, before);
    assert_int_equal(items[0], 7);
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_survive_growth),
        cmocka_unit_test(many_at_once_find_room),
        cmocka_unit_test(more_than_there_is_leaves_it_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
