/* SPDX-License-Identifier: Apache-2.0 */
/* Warm-up commands of other languages, played by small shell scripts. */
#include "client.h"

#include "clock.h"

#include <errno.h>

#define EVAL "{\"action\":\"eval\",\"code\":\"return 'a\\\"\\u00e4'\"}"

static struct served *serve_node(const char *script)
{
    static char command[4][512];
    static int next;
    char *line = command[next++ % 4];
    snprintf(line, sizeof command[0], "sh -c '%s'", script);
    return serve(&(struct agent_options){.warmup_command = line, .language = "node"});
}

static void results_are_json_in_a_string(void **state)
{
    (void)state;
    struct served *served = serve_node("echo \"{\\\"ready\\\":true}\"; read line; echo "
                                       "\"{\\\"id\\\":\\\"1\\\",\\\"result\\\":{\\\"a\\\":[1,null]}}\";"
                                       "read line; echo \"{\\\"id\\\":\\\"2\\\"}\"; sleep 60");
    assert_int_equal(served->status, 0);
    assert_answer_has(served, "{\"action\":\"ping\"}", "\"agent_lang\":\"node\",\"warmup_ready\":true}");
    assert_answer(served, EVAL, "{\"result_json\":\"{\\\"a\\\":[1,null]}\",\"exit_code\":0}\n");
    assert_answer(served, EVAL, "{\"result_json\":\"null\",\"exit_code\":0}\n");
}

static void the_request_arrives_as_one_line(void **state)
{
    (void)state;
    struct served *served = serve_node(
        "echo \"{\\\"ready\\\":true}\"; while read -r line; do echo \"{\\\"result\\\":$line}\"; done");
    assert_answer(served, EVAL,
                  "{\"result_json\":\"{\\\"id\\\":\\\"1\\\",\\\"code\\\":\\\"return "
                  "'a\\\\\\\"\xc3\xa4'\\\"}\",\"exit_code\":0}\n");
    assert_answer_has(served, EVAL, "\\\"id\\\":\\\"2\\\"");
}

static void errors_are_passed_on(void **state)
{
    (void)state;
    struct served *served = serve_node(
        "echo \"{\\\"ready\\\":true}\"; read line; echo \"{\\\"error\\\":\\\"E: x\\\",\\\"stack\\\":\\\"at "
        "y\\\"}\";"
        "read line; echo \"{\\\"error\\\":\\\"E: x\\\"}\"; read line; echo \"not json\"; read line");
    assert_answer(served, EVAL, "{\"error\":\"E: x\",\"stack\":\"at y\",\"exit_code\":1}\n");
    assert_answer(served, EVAL, "{\"error\":\"E: x\",\"stack\":\"\",\"exit_code\":1}\n");
    assert_answer(served, EVAL,
                  "{\"error\":\"warmup reply is not a JSON object\",\"raw\":\"not json\",\"exit_code\":1}\n");
    assert_answer(served, EVAL, "{\"error\":\"warmup closed its output\",\"exit_code\":1}\n");
    assert_answer_has(served, EVAL, "{\"error\":\"warmup ");
}

static void a_late_answer_is_nobodys(void **state)
{
    (void)state;
    struct served *served =
        serve_node("echo \"{\\\"ready\\\":true}\"; read line; sleep 2; echo \"{\\\"result\\\":1}\";"
                   "read line; echo \"{\\\"result\\\":2}\"; read line");
    assert_answer(served, "{\"action\":\"eval\",\"code\":\"x\",\"timeout\":0.2}",
                  "{\"error\":\"TimeoutExpired: eval took longer than it may; warmup is still busy with it\","
                  "\"exit_code\":1,\"code\":124}\n");
    assert_answer(served, "{\"action\":\"eval\",\"code\":\"x\",\"timeout\":0.2}",
                  "{\"error\":\"TimeoutExpired: warmup is busy with an eval that took longer than it may\","
                  "\"exit_code\":1,\"code\":124}\n");
    assert_answer(served, "{\"action\":\"eval\",\"code\":\"x\"}",
                  "{\"result_json\":\"2\",\"exit_code\":0}\n");
}

static void a_warm_up_that_is_not_ready_is_served_without(void **state)
{
    (void)state;
    struct served *served = serve_node("echo hello; sleep 60");
    assert_int_equal(served->status, -EPROTO);
    assert_non_null(strstr(served->err.text, "hello"));
    assert_answer_has(served, "{\"action\":\"ping\"}", "\"warmup_ready\":false}");
    assert_answer(served, EVAL, "{\"error\":\"warmup not ready\",\"exit_code\":1}\n");
    assert_int_equal(serve_node("exit 1")->status, -EPROTO);
    assert_int_equal(serve(&(struct agent_options){.warmup_command = "no-such-program"})->status, -ENOENT);
    assert_int_equal(serve(&(struct agent_options){.warmup_command = "sh 'open"})->status, -EINVAL);
}

/* What a service prints must not fill a pipe that nobody reads. */
static void a_service_may_print_much(void **state)
{
    (void)state;
    char path[] = "/tmp/bridge-test-XXXXXX";
    char command[256];
    close(mkstemp(path));
    snprintf(
        command, sizeof command,
        "sh -c 'echo \"{\\\"ready\\\":true}\"; head -c 1000000 /dev/zero | tr \"\\000\" .; rm %s; sleep 60'",
        path);
    assert_int_equal(serve(&(struct agent_options){.warmup_command = command})->status, 0);
    for (int i = 0; i < 500 && access(path, F_OK) == 0; i++)
        clock_sleep_ms(10);
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_json_in_a_string),
        cmocka_unit_test(the_request_arrives_as_one_line),
        cmocka_unit_test(errors_are_passed_on),
        cmocka_unit_test(a_late_answer_is_nobodys),
        cmocka_unit_test(a_warm_up_that_is_not_ready_is_served_without),
        cmocka_unit_test(a_service_may_print_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
