/* SPDX-License-Identifier: Apache-2.0 */
/* The warm interpreter, with the Python of this machine. */
#include "client.h"

#include "clock.h"

#include <errno.h>

static const char *python[2];

/* Names of its own, a seeded generator, and something printed where the protocol must not see it. */
static const char warm_code[] = "import random, os\n"
                                "random.seed(1)\n"
                                "def double(x):\n"
                                "    return 2 * x\n"
                                "print('printed by the warm-up')\n";

static int find_python(void **state)
{
    (void)state;
    static char path[256];
    /* The agent itself says where it is: the name in PATH may be a shell script that looks for it. */
    struct served *served = serve(&(struct agent_options){0});
    char *reply = ask(served, "{\"action\":\"exec\",\"args\":[\"python3\",\"-c\",\"import sys; "
                              "print(end=sys.executable)\"]}");
    if (sscanf(reply, "{\"stdout\":\"%255[^\"]", path) != 1) {
        fprintf(stderr, "these tests need python3: %s", reply);
        free(reply);
        return -1;
    }
    free(reply);
    python[0] = path;
    return 0;
}

static struct served *serve_python(const char *code)
{
    return serve(&(struct agent_options){.pythons = python, .warm_code = code});
}

static int start(void **state)
{
    struct served *served = serve_python(warm_code);
    *state = served;
    return served->status;
}

static void expressions_give_their_repr(void **state)
{
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"[1+1, 'a\\u00e4']\"}",
                  "{\"result\": \"[2, 'a\\u00e4']\", \"exit_code\": 0}\n");
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"chr(0xd800)\"}",
                  "{\"result\": \"'\\\\ud800'\", \"exit_code\": 0}\n");
}

static void names_of_the_warm_up_are_seen(void **state)
{
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"double(21)\"}",
                  "{\"result\": \"42\", \"exit_code\": 0}\n");
}

static void each_eval_has_a_fresh_namespace(void **state)
{
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"(leak := 1)\"}",
                  "{\"result\": \"1\", \"exit_code\": 0}\n");
    assert_answer_has(*state, "{\"action\":\"eval\",\"code\":\"leak\"}",
                      "NameError: name 'leak' is not defined");
}

static void errors_have_a_traceback(void **state)
{
    assert_answer_has(
        *state, "{\"action\":\"eval\",\"code\":\"1/0\"}",
        "{\"error\": \"ZeroDivisionError: division by zero\", \"traceback\": \"Traceback (most recent");
    assert_answer_has(*state, "{\"action\":\"eval\",\"code\":\"x = 1\"}", "{\"error\": \"SyntaxError: ");
    assert_answer_has(*state, "{\"action\":\"eval\",\"code\":\"exit(3)\"}", "{\"error\": \"SystemExit: 3\"");
}

static void printing_does_not_disturb(void **state)
{
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"print('printed by an eval')\"}",
                  "{\"result\": \"None\", \"exit_code\": 0}\n");
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"__import__('sys').stdin.read()\"}",
                  "{\"result\": \"''\", \"exit_code\": 0}\n");
}

static void an_eval_that_forks_answers_once(void **state)
{
    assert_answer_has(*state, "{\"action\":\"eval\",\"code\":\"os.fork() > 0\"}", "{\"result\": \"True\"");
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"7\"}", "{\"result\": \"7\", \"exit_code\": 0}\n");
}

static void results_of_many_bytes_come_whole(void **state)
{
    char *reply = ask(*state, "{\"action\":\"eval\",\"code\":\"'x' * 10000000\"}");
    assert_int_equal(strspn(reply + strlen("{\"result\": \"'"), "x"), 10000000);
    assert_non_null(strstr(reply, "x'\", \"exit_code\": 0}\n"));
    free(reply);
}

static void a_dead_interpreter_is_replaced(void **state)
{
    assert_answer_has(*state, "{\"action\":\"eval\",\"code\":\"os._exit(3)\"}",
                      "{\"error\":\"RuntimeError: the interpreter ended with exit status 3\"");
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"double(4)\"}",
                  "{\"result\": \"8\", \"exit_code\": 0}\n");
    assert_answer_has(*state, "{\"action\":\"eval\",\"code\":\"os.kill(os.getpid(), 11)\"}",
                      "{\"error\":\"RuntimeError: the interpreter was killed by signal 11\"");
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"double(5)\"}",
                  "{\"result\": \"10\", \"exit_code\": 0}\n");
}

static void a_timeout_interrupts(void **state)
{
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"globals().__setitem__('x', 1)\"}",
                  "{\"result\": \"None\", \"exit_code\": 0}\n");
    assert_answer_has(*state,
                      "{\"action\":\"eval\",\"code\":\"__import__('time').sleep(60)\",\"timeout\":0.3}",
                      "{\"error\": \"TimeoutExpired: eval took longer than it may, and was interrupted\", "
                      "\"traceback\": \"Traceback");
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"7\"}", "{\"result\": \"7\", \"exit_code\": 0}\n");
}

/* Closes without a goodbye, as a client that was killed, after the eval has begun. */
static void leave_in_the_middle(const struct served *served, const char *request)
{
    int fd = client_connect(served);
    client_send(fd, request);
    clock_sleep_ms(300);
    struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

static void a_client_that_goes_away_interrupts(void **state)
{
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"setattr(os, 'mark', 7)\"}",
                  "{\"result\": \"None\", \"exit_code\": 0}\n");
    leave_in_the_middle(*state, "{\"action\":\"eval\",\"code\":\"__import__('time').sleep(300)\"}\n");
    /* The same interpreter: it was not killed. */
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"os.mark\",\"timeout\":30}",
                  "{\"result\": \"7\", \"exit_code\": 0}\n");
}

static void an_eval_waits_for_another_no_longer_than_it_may(void **state)
{
    int slow = client_connect(*state);
    client_send(slow, "{\"action\":\"eval\",\"code\":\"__import__('time').sleep(3)\"}\n");
    clock_sleep_ms(300);
    assert_answer_has(*state, "{\"action\":\"eval\",\"code\":\"1\",\"timeout\":0.2}",
                      "{\"error\":\"TimeoutExpired: another eval was not done after 0.2 seconds\"");
    leave_in_the_middle(*state, "{\"action\":\"eval\",\"code\":\"os._exit(1)\"}\n"); /* before its turn */
    char *reply = client_receive(slow);
    assert_string_equal(reply, "{\"result\": \"None\", \"exit_code\": 0}\n");
    free(reply);
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"7\"}", "{\"result\": \"7\", \"exit_code\": 0}\n");
}

static void a_timeout_kills_what_ignores_the_interrupt(void **state)
{
    assert_answer_has(*state,
                      "{\"action\":\"eval\",\"code\":\"[__import__('signal').signal(2, 1), "
                      "__import__('time').sleep(60)]\",\"timeout\":0.3}",
                      "{\"error\":\"TimeoutExpired: eval timed out after 0.3 seconds");
    assert_answer(*state, "{\"action\":\"eval\",\"code\":\"7\"}", "{\"result\": \"7\", \"exit_code\": 0}\n");
}

static double random_number(struct served *served)
{
    char *reply = ask(served, "{\"action\":\"eval\",\"code\":\"random.random()\"}");
    double number = strtod(reply + strlen("{\"result\": \""), NULL);
    assert_true(number > 0);
    free(reply);
    return number;
}

static int reseed(struct served *served)
{
    warm_reseed_begin(&served->agent.warm);
    return warm_reseed_finish(&served->agent.warm);
}

static void reseeding_leaves_the_seeded_sequence(void **state)
{
    (void)state;
    struct served *same = serve_python(warm_code);
    struct served *other = serve_python(warm_code);
    assert_float_equal(random_number(same), random_number(other), 0);
    assert_int_equal(reseed(other), 0);
    assert_true(random_number(same) != random_number(other));
}

static void reseeding_reaches_an_eval_that_runs(void **state)
{
    struct served *served = *state;
    int fd = client_connect(served);
    client_send(fd, "{\"action\":\"eval\",\"code\":\"__import__('time').sleep(3)\"}\n");
    clock_sleep_ms(500);
    int64_t began = clock_now_ms();
    assert_int_equal(reseed(served), 0);
    assert_true(clock_now_ms() - began < 2000);
    char *reply = client_receive(fd);
    assert_string_equal(reply, "{\"result\": \"None\", \"exit_code\": 0}\n");
    free(reply);
}

/* Four processes, each with one worker: so that it is known who answers. */
#define WORKERS                                                                                              \
    "import multiprocessing, os, random, signal, subprocess, sys, time\n"                                    \
    "def ready():\n"                                                                                         \
    "    random.seed(1)\n"                                                                                   \
    "def draw():\n"                                                                                          \
    "    return random.random()\n"                                                                           \
    "def pid():\n"                                                                                           \
    "    return os.getpid()\n"                                                                               \
    "workers = [multiprocessing.Pool(1, ready) for _ in range(4)]\n"                                         \
    "seeded = random.Random(1)\n"                                                                            \
    "sequence = [seeded.random() for _ in range(9)]\n"                                                       \
    "def drawn():\n"                                                                                         \
    "    return [worker.apply(draw) for worker in workers]\n"                                                \
    "drawn()\n"

/* They would outlive this program. */
static void end_workers(struct served *served)
{
    assert_answer(served, "{\"action\":\"eval\",\"code\":\"[worker.terminate() for worker in workers]\"}",
                  "{\"result\": \"[None, None, None, None]\", \"exit_code\": 0}\n");
}

static void reseeding_reaches_workers(void **state)
{
    (void)state;
    struct served *served = serve_python(WORKERS);
    assert_int_equal(served->status, 0);
    assert_answer(served, "{\"action\":\"eval\",\"code\":\"drawn() == [sequence[1]] * 4\"}",
                  "{\"result\": \"True\", \"exit_code\": 0}\n");
    assert_int_equal(reseed(served), 0);
    assert_answer(served,
                  "{\"action\":\"eval\",\"code\":\"len(set(sequence) | set(drawn())) == len(sequence) + 4\"}",
                  "{\"result\": \"True\", \"exit_code\": 0}\n");
    end_workers(served);
}

/* What was started before a daemon's double fork has neither the interpreter as parent nor its session. */
static void reseeding_reaches_daemons(void **state)
{
    (void)state;
    struct served *served = serve_python("import os, random\n"
                                         "there, here = os.pipe()\n"
                                         "go, start = os.pipe()\n"
                                         "child = os.fork()\n"
                                         "if child == 0:\n"
                                         "    os.setsid()\n"
                                         "    if os.fork():\n"
                                         "        os._exit(0)\n"
                                         "    random.seed(1)\n"
                                         "    os.write(here, b'+')\n"
                                         "    os.read(go, 1)\n"
                                         "    os.write(here, repr(random.random()).encode())\n"
                                         "    os._exit(0)\n"
                                         "os.waitpid(child, 0)\n"
                                         "os.read(there, 1)\n");
    assert_int_equal(served->status, 0);
    assert_int_equal(reseed(served), 0);
    assert_answer(served,
                  "{\"action\":\"eval\",\"code\":\"os.write(start, b'+') and "
                  "float(os.read(there, 99)) != random.Random(1).random()\"}",
                  "{\"result\": \"True\", \"exit_code\": 0}\n");
}

/* It is asked again meanwhile; the last time perhaps just when it is done. */
static void a_slow_reseeding_is_not_begun_again(void **state)
{
    (void)state;
    struct served *served = serve_python("import random, time\n"
                                         "count = 0\n"
                                         "def slow(*_, seed=random.seed):\n"
                                         "    global count\n"
                                         "    time.sleep(1)\n"
                                         "    count += 1\n"
                                         "    seed()\n"
                                         "random.seed = slow\n");
    assert_int_equal(served->status, 0);
    assert_int_equal(reseed(served), 0);
    assert_answer(served, "{\"action\":\"eval\",\"code\":\"count in (1, 2)\"}",
                  "{\"result\": \"True\", \"exit_code\": 0}\n");
}

/* Other programs, what is stopped, what does not want the signal: each lives on, and none is waited for long.
 */
static void reseeding_leaves_others_alone(void **state)
{
    (void)state;
    struct served *served =
        serve_python(WORKERS "program = subprocess.Popen(['sleep', '600'])\n"
                             "pids = [worker.apply(pid) for worker in workers]\n"
                             "workers[0].apply(signal.signal, (40, signal.SIG_DFL))\n"
                             "workers[1].apply(signal.pthread_sigmask, (signal.SIG_BLOCK, [40]))\n"
                             "os.kill(pids[2], signal.SIGSTOP)\n"
                             "os.waitid(os.P_PID, pids[2], os.WSTOPPED | os.WNOWAIT)\n");
    assert_int_equal(served->status, 0);
    int64_t began = clock_now_ms();
    assert_int_equal(reseed(served), 0);
    assert_true(clock_now_ms() - began < 5000);
    assert_answer(
        served,
        "{\"action\":\"eval\",\"code\":\"[program.poll(), os.kill(pids[2], 18), [at in sequence for at in "
        "drawn()]]\"}",
        "{\"result\": \"[None, None, [True, True, False, False]]\", \"exit_code\": 0}\n");
    assert_answer(served, "{\"action\":\"eval\",\"code\":\"program.kill()\"}",
                  "{\"result\": \"None\", \"exit_code\": 0}\n");
    end_workers(served);
}

/* With a handler of its own it never answers. */
static void a_worker_that_does_not_answer_is_given_up(void **state)
{
    (void)state;
    struct served *served = serve_python(WORKERS "workers[0].apply(signal.signal, (40, print))\n"
                                                 "workers[0].apply_async(time.sleep, (60,))\n");
    assert_int_equal(reseed(served), 0);
    assert_answer(served, "{\"action\":\"eval\",\"code\":\"workers[1].apply(draw) in sequence\"}",
                  "{\"result\": \"False\", \"exit_code\": 0}\n");
    end_workers(served);
}

static void a_warm_up_that_fails_is_reported_and_served(void **state)
{
    (void)state;
    struct served *served = serve_python("import random\nimport no_such_module\n");
    assert_int_equal(served->status, -EINVAL);
    assert_non_null(strstr(served->err.text, "ModuleNotFoundError: No module named 'no_such_module'"));
    assert_answer(served, "{\"action\":\"eval\",\"code\":\"7\"}", "{\"result\": \"7\", \"exit_code\": 0}\n");
}

static void without_python_only_eval_is_missing(void **state)
{
    (void)state;
    struct served *served = serve(&(struct agent_options){0});
    assert_int_equal(served->status, 0);
    assert_answer_has(served, "{\"action\":\"eval\",\"code\":\"7\"}",
                      "{\"error\":\"RuntimeError: eval needs Python");
    assert_answer_has(served, "{\"action\":\"ping\"}", "\"numpy_version\":\"not-installed\"");
    assert_int_equal(reseed(served), 0);
    assert_int_equal(serve(&(struct agent_options){.warm_code = "1"})->status, -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(expressions_give_their_repr, start),
        cmocka_unit_test_setup(names_of_the_warm_up_are_seen, start),
        cmocka_unit_test_setup(each_eval_has_a_fresh_namespace, start),
        cmocka_unit_test_setup(errors_have_a_traceback, start),
        cmocka_unit_test_setup(printing_does_not_disturb, start),
        cmocka_unit_test_setup(an_eval_that_forks_answers_once, start),
        cmocka_unit_test_setup(results_of_many_bytes_come_whole, start),
        cmocka_unit_test_setup(a_dead_interpreter_is_replaced, start),
        cmocka_unit_test_setup(a_timeout_interrupts, start),
        cmocka_unit_test_setup(a_client_that_goes_away_interrupts, start),
        cmocka_unit_test_setup(an_eval_waits_for_another_no_longer_than_it_may, start),
        cmocka_unit_test_setup(a_timeout_kills_what_ignores_the_interrupt, start),
        cmocka_unit_test(reseeding_leaves_the_seeded_sequence),
        cmocka_unit_test_setup(reseeding_reaches_an_eval_that_runs, start),
        cmocka_unit_test(reseeding_reaches_workers),
        cmocka_unit_test(reseeding_reaches_daemons),
        cmocka_unit_test(a_slow_reseeding_is_not_begun_again),
        cmocka_unit_test(reseeding_leaves_others_alone),
        cmocka_unit_test(a_worker_that_does_not_answer_is_given_up),
        cmocka_unit_test(a_warm_up_that_fails_is_reported_and_served),
        cmocka_unit_test(without_python_only_eval_is_missing),
    };
    return cmocka_run_group_tests(tests, find_python, NULL);
}
