/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: what is filled in, the sentence that is made of it, and texts that are longer than there is room
 * for. */
#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* After what it needs. */
#include <cmocka.h>

static struct forkd_error err;

static void all_parts_are_filled_in(void **state)
{
    (void)state;
    assert_int_equal(error_set(&err, ENOENT, "open", "/a", "of %d", 3), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_string_equal(err.operation, "open");
    assert_string_equal(err.object, "/a");
    assert_string_equal(err.text, "open /a: No such file or directory: of 3");
}

static void a_code_has_either_sign(void **state)
{
    (void)state;
    assert_int_equal(error_set(&err, -EPERM, "open", "/a", NULL), -EPERM);
    assert_string_equal(err.text, "open /a: Operation not permitted");
    assert_int_equal(error_say(&err, -EPERM, "open", "/a", "no"), -EPERM);
    assert_int_equal(error_say(&err, EPERM, "open", "/a", "no"), -EPERM);
    assert_int_equal(err.code, -EPERM);
}

static void what_is_empty_leaves_no_gap(void **state)
{
    (void)state;
    error_set(&err, EPERM, "", "lo", NULL);
    assert_string_equal(err.text, "lo: Operation not permitted");
    error_set(&err, EPERM, "reseed", "", NULL);
    assert_string_equal(err.text, "reseed: Operation not permitted");
}

static void a_sentence_of_its_own_is_the_whole_text(void **state)
{
    (void)state;
    assert_int_equal(error_say(&err, EINVAL, "parse", "request", "KeyError: '%s'", "args"), -EINVAL);
    assert_string_equal(err.operation, "parse");
    assert_string_equal(err.object, "request");
    assert_string_equal(err.text, "KeyError: 'args'");
}

static void nobody_has_to_ask_why(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, EIO, "read", "/a", NULL), -EIO);
    assert_int_equal(error_say(NULL, EIO, "read", "/a", "no"), -EIO);
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    char name[1024];
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    error_set(&err, EIO, name, name, "%s", name);
    assert_int_equal(strlen(err.operation), sizeof err.operation - 1);
    assert_int_equal(strlen(err.object), sizeof err.object - 1);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    error_set(&err, EIO, "open", "/a", "%s", name);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    error_say(&err, EIO, "open", "/a", "%s", name);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_parts_are_filled_in),
        cmocka_unit_test(a_code_has_either_sign),
        cmocka_unit_test(what_is_empty_leaves_no_gap),
        cmocka_unit_test(a_sentence_of_its_own_is_the_whole_text),
        cmocka_unit_test(nobody_has_to_ask_why),
        cmocka_unit_test(long_texts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
