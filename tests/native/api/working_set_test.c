/* SPDX-License-Identifier: Apache-2.0 */
/* A child that answers for that purpose teaches all others what to have ready. */
#include "snapshot.h"
#include "usage.h"

#include <sys/stat.h>

/* Pages that the guest touches for an answer (guests/answer.c), one in two of which it writes to. */
#define PAGES 1024u

static int set_up(void **state)
{
    return make_snapshot_of(state, GUEST("answer"));
}

/* Faults so far of the first vCPU, whose thread is the process's first. */
static unsigned long guest_faults(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    unsigned long faults = 0;
    assert_int_equal(fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %lu", &faults), 1);
    fclose(file);
    return faults;
}

/* The faults of a fresh child's first answer. */
static unsigned long faults_of_first_answer(struct forkd_server *server)
{
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    unsigned long before = guest_faults(status.pid);
    ask_child(child);
    unsigned long faults = guest_faults(status.pid) - before;
    forkd_vm_free(child);
    return faults;
}

static off_t size_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_size;
}

static struct forkd_server *start_learning(const struct fixture *fixture, const char *path)
{
    return start_with_working_set(fixture, path, FORKD_LEARN_WORKING_SET);
}

static void child_takes_few_faults_for_its_first_answer(void **state)
{
    struct fixture *fixture = *state;
    const char *path = FILE_IN(fixture->folder, "few-faults");
    struct forkd_server *without = start_with_working_set(fixture, NULL, 0);
    struct forkd_server *learning = start_learning(fixture, path);
    unsigned long bare = faults_of_first_answer(without);
    unsigned long learnt = faults_of_first_answer(learning);
    assert_true(size_of(path) > 32);
    struct forkd_server *with = start_with_working_set(fixture, path, 0);
    unsigned long prepared = faults_of_first_answer(with);
    print_message("faults of a first answer: %lu, of the one that is learnt from %lu, prepared %lu\n", bare,
                  learnt, prepared);
    assert_true(bare >= PAGES / 2);
    assert_true(learnt >= PAGES / 2);
    assert_true(prepared < 50);
    assert_true(faults_of_first_answer(learning) < 50);
    forkd_server_free(with);
    forkd_server_free(learning);
    forkd_server_free(without);
}

static void reset_child_takes_few_faults_for_its_first_answer(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    const char *path = FILE_IN(fixture->folder, "reset");
    struct forkd_server *learning = start_learning(fixture, path);
    faults_of_first_answer(learning);
    struct forkd_server *with = start_with_working_set(fixture, path, 0);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(with, NULL, &status);
    for (int i = 0; i < 3; i++) {
        ask_child(child);
        const struct forkd_reset_options options = {0};
        OK(forkd_vm_reset(child, &options, &error));
        OK(forkd_vm_wait(child, 20000, &status, &error));
        assert_int_equal(status.phase, FORKD_VM_READY);
        assert_true(own_guest_memory(status.pid) / 4096 < PAGES / 2); /* not before it is asked */
        unsigned long before = guest_faults(status.pid);
        ask_child(child);
        assert_true(guest_faults(status.pid) - before < 50);
    }
    forkd_vm_free(child);
    forkd_server_free(with);
    forkd_server_free(learning);
}

/* Of a live branch, and of a branch of such a child: whether its source has answered already or not. */
static void child_of_a_branch_takes_few_faults_for_its_first_answer(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    const char *path = FILE_IN(fixture->folder, "branch");
    struct forkd_server *learning = start_learning(fixture, path);
    faults_of_first_answer(learning);
    struct forkd_server *servers[3] = {start_with_working_set(fixture, path, 0)};
    struct forkd_vm *sources[2];
    for (int i = 0; i < 2; i++) {
        struct forkd_vm_status status;
        const struct forkd_branch_options options = {
            .directory = i == 0 ? FILE_IN(fixture->folder, "first") : FILE_IN(fixture->folder, "second")};
        assert_int_equal(mkdir(options.directory, 0700), 0);
        sources[i] = fork_ready(servers[i], NULL, &status);
        if (i == 1)
            ask_child(sources[i]);
        ask_child_for(sources[i], "b");
        OK(forkd_vm_branch(sources[i], &options, &servers[i + 1], NULL, &error));
        OK(forkd_server_wait_written(servers[i + 1], 20000, &error));
        assert_true(faults_of_first_answer(servers[i + 1]) < 50);
    }
    for (int i = 2; i >= 0; i--)
        forkd_server_free(servers[i]);
    for (int i = 0; i < 2; i++)
        forkd_vm_free(sources[i]);
    forkd_server_free(learning);
}

/* A file to learn to is there, but not for them: whatever runs in a child could put there what it liked. */
static void other_children_learn_nothing_and_cannot_write(void **state)
{
    struct fixture *fixture = *state;
    const char *path = FILE_IN(fixture->folder, "read-only");
    char command[256];
    write_file(path, "");
    struct forkd_server *server = start_with_working_set(fixture, path, 0);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    for (int i = 0; i < 2; i++) {
        const int pid = i == 0 ? status.pid : forkd_server_pid(server);
        snprintf(command, sizeof command,
                 "for fd in $(find /proc/%d/fd -lname '%s'); do"
                 " grep -q '^flags:.*[12]$' /proc/%d/fdinfo/${fd##*/} && exit 1; done; exit 0",
                 pid, path, pid);
        assert_int_equal(system(command), 0);
    }
    ask_child(child);
    forkd_vm_free(child);
    assert_int_equal(size_of(path), 0);
    forkd_server_free(server);
}

static void ping_teaches_nothing(void **state)
{
    struct fixture *fixture = *state;
    const char *path = FILE_IN(fixture->folder, "ping");
    struct forkd_server *server = start_learning(fixture, path);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    ask_child_for(child, "p");
    forkd_vm_free(child);
    assert_int_equal(size_of(path), 0);
    assert_true(faults_of_first_answer(server) >= PAGES / 2);
    assert_true(size_of(path) > 32);
    assert_true(faults_of_first_answer(server) < 50);
    forkd_server_free(server);
}

static void child_that_is_not_asked_is_not_prepared(void **state)
{
    struct fixture *fixture = *state;
    const char *path = FILE_IN(fixture->folder, "not-asked");
    struct forkd_server *server = start_learning(fixture, path);
    (void)faults_of_first_answer(server);
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    unsigned long idle = own_guest_memory(status.pid) / 4096;
    struct forkd_error error = {0};
    int fd = -1;
    OK(forkd_vm_connect(child, ANSWER_PORT, &fd, &error));
    /* Connected, and not asked anything yet: all that it is going to write has come just now. */
    assert_true(own_guest_memory(status.pid) / 4096 >= idle + PAGES / 2);
    close(fd);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* Several at once, of which one is first; and one that dies while it learns holds up nobody. */
static void only_one_child_learns_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    const char *path = FILE_IN(fixture->folder, "one-learns");
    struct forkd_server *server = start_learning(fixture, path);
    struct forkd_vm_status status[2];
    struct forkd_vm *children[2];
    for (int i = 0; i < 2; i++)
        children[i] = fork_ready(server, NULL, &status[i]);
    struct forkd_error error = {0};
    int fd = -1;
    OK(forkd_vm_connect(children[0], ANSWER_PORT, &fd, &error));
    ask_child(children[1]);
    assert_int_equal(size_of(path), 0);
    forkd_vm_kill(children[0]);
    close(fd);
    assert_true(faults_of_first_answer(server) >= PAGES / 2);
    assert_true(size_of(path) > 32);
    assert_true(faults_of_first_answer(server) < 50);
    for (int i = 0; i < 2; i++)
        forkd_vm_free(children[i]);
    forkd_server_free(server);
}

static void damaged_set_is_done_without_and_learnt_again(void **state)
{
    struct fixture *fixture = *state;
    const char *path = FILE_IN(fixture->folder, "damaged");
    struct forkd_server *server = start_learning(fixture, path);
    (void)faults_of_first_answer(server);
    forkd_server_free(server);
    off_t learnt = size_of(path);
    assert_int_equal(truncate(path, learnt - 1), 0);
    server = start_with_working_set(fixture, path, 0);
    assert_true(faults_of_first_answer(server) >= PAGES / 2);
    assert_int_equal(size_of(path), learnt - 1);
    forkd_server_free(server);
    server = start_learning(fixture, path);
    assert_true(faults_of_first_answer(server) >= PAGES / 2);
    assert_int_equal(size_of(path), learnt);
    forkd_server_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(child_takes_few_faults_for_its_first_answer),
        cmocka_unit_test(reset_child_takes_few_faults_for_its_first_answer),
        cmocka_unit_test(child_of_a_branch_takes_few_faults_for_its_first_answer),
        cmocka_unit_test(other_children_learn_nothing_and_cannot_write),
        cmocka_unit_test(ping_teaches_nothing),
        cmocka_unit_test(child_that_is_not_asked_is_not_prepared),
        cmocka_unit_test(only_one_child_learns_at_a_time),
        cmocka_unit_test(damaged_set_is_done_without_and_learnt_again),
    };
    return cmocka_run_group_tests(tests, set_up, remove_snapshot);
}
