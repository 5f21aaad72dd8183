/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: each action's fields and the errors for each wrong one. */
#include "request.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* After what it needs. */
#include <cmocka.h>

static char text[512];
static struct forkd_error err;
static struct request request;

static int parse(const char *json)
{
    snprintf(text, sizeof text, "%s", json);
    return request_parse(text, strlen(text), &request, &err);
}

static void assert_refused(const char *json, const char *expected)
{
    assert_int_equal(parse(json), -EINVAL);
    assert_int_equal(err.code, -EINVAL);
    if (strncmp(err.text, expected, strlen(expected)) != 0)
        assert_string_equal(err.text, expected);
}

static void exec_with_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"action\":\"exec\",\"args\":[\"ls\",\"-l\"],\"unknown\":{\"x\":[1]}}"), 0);
    assert_int_equal(request.action, REQUEST_EXEC);
    assert_string_equal(request.argv[0], "ls");
    assert_string_equal(request.argv[1], "-l");
    assert_null(request.argv[2]);
    assert_float_equal(request.timeout, 30, 0);
    assert_null(request.cwd);
    assert_null(request.environment);
    assert_null(request.user);
    assert_int_equal(request.input_length, 0);
    assert_false(request.input_follows);
    assert_false(request.stream);
    request_free(&request);
}

static void exec_with_everything(void **state)
{
    (void)state;
    assert_int_equal(
        parse("{\"cwd\":\"/tmp\",\"env\":{\"A\":\"1\",\"B\":\"\"},\"stream\":true,\"timeout\":1.5,"
              "\"stdin_base64\":\"AP8K\",\"user\":\"app:29\",\"stdin\":\"follows\",\"args\":[\"a\"],"
              "\"action\":\"exec\"}"),
        0);
    assert_string_equal(request.cwd, "/tmp");
    assert_string_equal(request.user, "app:29");
    assert_true(request.input_follows);
    assert_string_equal(request.environment[0], "A=1");
    assert_string_equal(request.environment[1], "B=");
    assert_null(request.environment[2]);
    assert_true(request.stream);
    assert_float_equal(request.timeout, 1.5, 0);
    assert_int_equal(request.input_length, 3);
    assert_memory_equal(request.input, "\0\xff\n", 3);
    request_free(&request);
}

static void the_last_of_two_equal_names_counts(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"action\":\"exec\",\"args\":[\"a\"],\"action\":\"ping\"}"), 0);
    assert_int_equal(request.action, REQUEST_PING);
    request_free(&request);
}

static void a_null_timeout_is_none(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"action\":\"exec\",\"args\":[\"a\"],\"timeout\":null}"), 0);
    assert_true(isinf(request.timeout));
    request_free(&request);
    assert_int_equal(parse("{\"action\":\"eval\",\"code\":\"1\\u0000\"}"), 0);
    assert_true(isinf(request.timeout));
    assert_int_equal(request.code.length, 2);
    request_free(&request);
}

static void bad_requests_are_named(void **state)
{
    (void)state;
    assert_refused("", "JSONDecodeError: Expecting a value (char 0)");
    assert_refused("{\"action\":\"ping\"", "JSONDecodeError: Expecting ','");
    assert_refused("[1]", "TypeError: expected an object");
    assert_refused("{}", "unknown action: None");
    assert_refused("{\"action\":7}", "unknown action: not a string");
    assert_refused("{\"action\":\"dance\"}", "unknown action: 'dance'");
    assert_refused("{\"action\":\"exec\"}", "KeyError: 'args'");
    assert_refused("{\"action\":\"exec\",\"args\":[]}", "IndexError: ");
    assert_refused("{\"action\":\"exec\",\"args\":\"ls\"}", "TypeError: args");
    assert_refused("{\"action\":\"exec\",\"args\":[1]}", "TypeError: args");
    assert_refused("{\"action\":\"exec\",\"args\":[\"a\\u0000b\"]}", "ValueError: embedded null byte");
    assert_refused("{\"action\":\"exec\",\"args\":[\"a\"],\"timeout\":\"1\"}", "TypeError: timeout");
    assert_refused("{\"action\":\"exec\",\"args\":[\"a\"],\"cwd\":1}", "TypeError: cwd");
    assert_refused("{\"action\":\"exec\",\"args\":[\"a\"],\"env\":[]}", "TypeError: env");
    assert_refused("{\"action\":\"exec\",\"args\":[\"a\"],\"env\":{\"A\":\"1\",\"B\":2}}", "TypeError: env");
    assert_refused("{\"action\":\"exec\",\"args\":[\"a\"],\"env\":{\"A=B\":\"1\"}}", "ValueError: illegal");
    assert_refused("{\"action\":\"exec\",\"args\":[\"a\"],\"stdin_base64\":\"?\"}",
                   "ValueError: stdin_base64");
    assert_refused("{\"action\":\"eval\"}", "KeyError: 'code'");
    assert_refused("{\"action\":\"eval\",\"code\":null}", "TypeError: code");
}

static void a_list_without_end_is_refused_before_it_costs_memory(void **state)
{
    (void)state;
    static const char head[] = "{\"action\":\"exec\",\"args\":[\"a\"";
    size_t count = (size_t)1 << 20;
    char *huge = malloc(sizeof head + 4 * count + 2);
    memcpy(huge, head, sizeof head - 1);
    char *at = huge + sizeof head - 1;
    for (size_t i = 0; i < count; i++, at += 4)
        memcpy(at, ",\"a\"", 4);
    memcpy(at, "]}", 2);
    assert_int_equal(request_parse(huge, (size_t)(at + 2 - huge), &request, &err), -E2BIG);
    assert_string_equal(err.text, "OSError: [Errno 7] Argument list too long");
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exec_with_defaults),
        cmocka_unit_test(exec_with_everything),
        cmocka_unit_test(the_last_of_two_equal_names_counts),
        cmocka_unit_test(a_null_timeout_is_none),
        cmocka_unit_test(bad_requests_are_named),
        cmocka_unit_test(a_list_without_end_is_refused_before_it_costs_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
