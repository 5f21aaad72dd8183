/* SPDX-License-Identifier: Apache-2.0 */
/* Being told when processes end. */
#include "harness.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MANY 200

/* Field 22 of /proc/PID/stat. */
static uint64_t process_start_time(pid_t pid)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    unsigned long long start = 0;
    assert_int_equal(fscanf(file, "%*d (%*[^)]) %*c"), 0);
    for (int field = 4; field <= 22; field++)
        assert_int_equal(fscanf(file, "%llu", &start), 1);
    fclose(file);
    return start;
}

static pid_t start_process(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails */
        pause();
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

static void end_process(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static struct forkd_watch *watch_make(void)
{
    struct forkd_watch *watch;
    assert_int_equal(forkd_watch_new(&watch, NULL), 0);
    return watch;
}

static void each_end_is_told_once(void **state)
{
    (void)state;
    struct forkd_watch *watch = watch_make();
    pid_t processes[MANY];
    for (uint64_t i = 0; i < MANY; i++) {
        processes[i] = start_process();
        assert_int_equal(forkd_watch_add(watch, processes[i], process_start_time(processes[i]), i, NULL), 0);
    }
    uint64_t token;
    assert_int_equal(forkd_watch_wait(watch, 0, &token, NULL), -ETIMEDOUT);
    for (uint64_t i = 0; i < MANY; i += 2)
        end_process(processes[i]);
    bool told[MANY] = {false};
    for (uint64_t i = 0; i < MANY; i += 2) {
        assert_int_equal(forkd_watch_wait(watch, 10000, &token, NULL), 0);
        assert_true(token < MANY && token % 2 == 0 && !told[token]);
        told[token] = true;
    }
    assert_int_equal(forkd_watch_wait(watch, 0, &token, NULL), -ETIMEDOUT);
    /* The places of those that have ended serve others. */
    pid_t later = start_process();
    assert_int_equal(forkd_watch_add(watch, later, process_start_time(later), UINT64_MAX, NULL), 0);
    end_process(later);
    assert_int_equal(forkd_watch_wait(watch, 10000, &token, NULL), 0);
    assert_true(token == UINT64_MAX);
    forkd_watch_free(watch);
    for (uint64_t i = 1; i < MANY; i += 2)
        end_process(processes[i]);
}

static void other_process_of_the_number_is_not_watched(void **state)
{
    (void)state;
    struct forkd_watch *watch = watch_make();
    pid_t process = start_process();
    struct forkd_error error;
    assert_int_equal(forkd_watch_add(watch, process, process_start_time(process) + 1, 0, &error), -ESRCH);
    assert_int_equal(forkd_watch_add(watch, process, 0, 0, &error), -ESRCH);
    assert_int_equal(forkd_watch_add(watch, 0, 0, 0, &error), -EINVAL);
    uint64_t start_time = process_start_time(process);
    end_process(process);
    assert_int_equal(forkd_watch_add(watch, process, start_time, 0, &error), -ESRCH);
    forkd_watch_free(watch);
    forkd_watch_free(NULL);
}

static void *wait_once(void *watch)
{
    uint64_t token = 0;
    assert_int_equal(forkd_watch_wait(watch, 20000, &token, NULL), 0);
    assert_int_equal(token, 7);
    return NULL;
}

static void others_add_while_one_waits(void **state)
{
    (void)state;
    struct forkd_watch *watch = watch_make();
    pthread_t waiter;
    assert_int_equal(pthread_create(&waiter, NULL, wait_once, watch), 0);
    pid_t process = start_process();
    assert_int_equal(forkd_watch_add(watch, process, process_start_time(process), 7, NULL), 0);
    end_process(process);
    pthread_join(waiter, NULL);
    forkd_watch_free(watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_end_is_told_once),
        cmocka_unit_test(other_process_of_the_number_is_not_watched),
        cmocka_unit_test(others_add_while_one_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
