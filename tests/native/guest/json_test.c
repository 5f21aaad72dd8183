/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON reader: what it takes, what it refuses, and what strings become. */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* After what it needs. */
#include <cmocka.h>

/* On the heap and without a NUL, so that a read beyond the end is seen. */
static bool parses(const char *text, size_t length)
{
    char *copy = malloc(length ? length : 1);
    struct json_value value;
    struct json_problem problem;
    memcpy(copy, text, length);
    bool good = json_parse(copy, length, &value, &problem);
    free(copy);
    return good;
}

static void valid_documents_are_taken(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        " [ ] ",
        "null",
        "true",
        "-0.5e+3",
        "0",
        "\"\"",
        "[1,2,[3,{\"a\":null}]]",
        "{\"a\":1,\"a\":2}\r\n",
        "\"\\u00e4\\ud83d\\ude00\xc3\xa4\xf0\x9f\x98\x80\\\"\\/\"",
        "[\t1e9 ]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_true(parses(texts[i], strlen(texts[i])));
}

static void invalid_documents_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "[",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "01",
        "-",
        "1.",
        "1e",
        "+1",
        "tru",
        "nul",
        "NaN",
        "Infinity",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12\"",
        "\"\t\"",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xed\xa0\x80\"",
        "{} {}",
        "[1 2]",
        "'a'",
        "\"a\" b",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_false(parses(texts[i], strlen(texts[i])));
    assert_false(parses("\"a\0b\"", 5));
    assert_false(parses("\"\\\0\"", 4));
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 2];
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_true(parses(text, 2 * (size_t)JSON_DEPTH_MAX));
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_false(parses(text, sizeof text));
}

static void assert_decodes(const char *json, const char *expected, size_t length)
{
    char text[64];
    struct json_value value;
    struct json_problem problem;
    snprintf(text, sizeof text, "%s", json);
    assert_true(json_parse(text, strlen(text), &value, &problem));
    assert_int_equal(value.kind, JSON_STRING);
    struct json_text decoded = json_string(&value);
    assert_int_equal(decoded.length, length);
    assert_memory_equal(decoded.data, expected, length + 1);
}

static void strings_are_decoded(void **state)
{
    (void)state;
    assert_decodes("\"\"", "", 0);
    assert_decodes("\"a\\n\\t\\b\\f\\r\\\\\\/\\\"z\"", "a\n\t\b\f\r\\/\"z", 10);
    assert_decodes("\"\\u0000x\"", "\0x", 2);
    assert_decodes("\"\\u00e4\\u20ac\\ud83d\\ude00\"", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9);
}

static void lone_surrogates_become_the_replacement_character(void **state)
{
    (void)state;
    assert_decodes("\"\\ud800\"", "\xef\xbf\xbd", 3);
    assert_decodes("\"\\udc00x\"", "\xef\xbf\xbdx", 4);
    assert_decodes("\"\\ud800\\u0041\"",
                   "\xef\xbf\xbd"
                   "A",
                   4);
    assert_decodes("\"\\ud800\\ud800\"", "\xef\xbf\xbd\xef\xbf\xbd", 6);
}

static void objects_are_walked_with_decoded_keys(void **state)
{
    (void)state;
    char text[] = "{ \"\\u0061\" : [1, \"x\"] ,\"b\":2.5}";
    struct json_value object;
    struct json_problem problem;
    struct json_walk walk = {0};
    struct json_text key;
    struct json_value value;
    double number;
    assert_true(json_parse(text, strlen(text), &object, &problem));

    assert_true(json_next_member(&object, &walk, &key, &value));
    assert_string_equal(key.data, "a");
    assert_int_equal(value.kind, JSON_ARRAY);
    struct json_walk items = {0};
    struct json_value item;
    assert_true(json_next_item(&value, &items, &item));
    assert_true(json_next_item(&value, &items, &item));
    assert_string_equal(json_string(&item).data, "x");
    assert_false(json_next_item(&value, &items, &item));

    assert_true(json_next_member(&object, &walk, &key, &value));
    assert_string_equal(key.data, "b");
    assert_true(json_number(&value, &number));
    assert_float_equal(number, 2.5, 0);
    assert_false(json_next_member(&object, &walk, &key, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_documents_are_taken),
        cmocka_unit_test(invalid_documents_are_refused),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(lone_surrogates_become_the_replacement_character),
        cmocka_unit_test(objects_are_walked_with_decoded_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
