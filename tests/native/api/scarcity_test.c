/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forking when something runs out at child k of n, or dies meanwhile: the children that were made live on,
 * the others say why they are not there, and nothing is left behind.
 */
#include "stranger.h"

#include <dirent.h>
#include <sys/resource.h>

#define CHILDREN 10
#define SOME 3

struct brood {
    struct forkd_vm *children[CHILDREN];
    struct forkd_vm_status status[CHILDREN];
};

static char *vsock_path(const struct fixture *fixture, int index, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s/%d.vsock", fixture->folder.path, index);
    return buffer;
}

static void ask(const struct fixture *fixture, struct forkd_server *server, struct brood *brood, int from,
                int to)
{
    struct forkd_error error = {0};
    for (int i = from; i < to; i++) {
        struct forkd_child_options options = {.flags = FORKD_NO_AGENT,
                                              .vsock_path = vsock_path(fixture, i, (char[128]){0}, 128)};
        OK(forkd_server_fork(server, &options, &brood->children[i], &error));
    }
}

/* How many came up. */
static int wait_all(struct brood *brood, int from, int to)
{
    struct forkd_error error = {0};
    int ready = 0;
    for (int i = from; i < to; i++) {
        OK(forkd_vm_wait(brood->children[i], 20000, &brood->status[i], &error));
        ready += brood->status[i].phase == FORKD_VM_READY;
    }
    return ready;
}

static void assert_still_ready(struct brood *brood, int from, int to)
{
    struct forkd_error error = {0};
    for (int i = from; i < to; i++) {
        struct forkd_vm_status now;
        OK(forkd_vm_wait(brood->children[i], 0, &now, &error));
        assert_int_equal(now.phase, brood->status[i].phase);
    }
}

static void free_all(struct brood *brood)
{
    for (int i = 0; i < CHILDREN; i++)
        forkd_vm_free(brood->children[i]);
}

/* The broker of a server that was killed may be making one at that moment, which it then removes. */
static void assert_no_sockets(const struct fixture *fixture)
{
    for (int i = 0; i < CHILDREN; i++) {
        char path[128];
        vsock_path(fixture, i, path, sizeof path);
        assert_vanishes(path);
    }
}

/* The failed ones name what they ran out of. */
static void assert_failed(const struct forkd_vm_status *status, int code)
{
    assert_int_equal(status->phase, FORKD_VM_ENDED);
    assert_int_equal(status->end, FORKD_END_ERROR);
    assert_int_equal(status->error.code, -code);
    assert_true(strlen(status->error.text) > 0);
}

/* Limits of processes are not for root. */
static struct forkd_server *start_as_stranger(struct fixture *fixture)
{
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    own_mounts();
    put_kvm(fixture, KVM_DEVICE, 0666);
    give_to_stranger(fixture);
    become(STRANGER);
    int result = forkd_server_start(&server, &fixture->options, &error);
    become(0);
    OK(result);
    return server;
}

/* KVM has threads of its own in each process that runs a VM; how many depends on the kernel. */
static rlim_t count_threads(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    assert_non_null(tasks);
    rlim_t count = 0;
    while (readdir(tasks) != NULL)
        count++;
    closedir(tasks);
    return count - 2; /* . and .. */
}

/* As the server's user: root alone has not the right everywhere. */
static void limit_threads(int pid, rlim_t count)
{
    struct rlimit limit;
    become(STRANGER);
    int result = prlimit(pid, RLIMIT_NPROC, NULL, &limit);
    limit.rlim_cur = count;
    if (result == 0)
        result = prlimit(pid, RLIMIT_NPROC, &limit, NULL);
    become(0);
    assert_int_equal(result, 0);
}

static void children_beyond_the_limit_of_processes_say_so(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start_as_stranger(fixture);
    int pid = forkd_server_pid(server);
    struct brood brood;
    ask(fixture, server, &brood, 0, SOME);
    assert_int_equal(wait_all(&brood, 0, SOME), SOME);
    rlim_t threads = count_threads(pid);
    for (int i = 0; i < SOME; i++)
        threads += count_threads(brood.status[i].pid);
    limit_threads(pid, threads);
    ask(fixture, server, &brood, SOME, CHILDREN);
    assert_int_equal(wait_all(&brood, SOME, CHILDREN), 0);
    for (int i = SOME; i < CHILDREN; i++)
        assert_failed(&brood.status[i], EAGAIN);
    assert_still_ready(&brood, 0, SOME);
    free_all(&brood);
    wait_for_children(pid, 0);
    assert_no_sockets(fixture);
    /* The server is none the worse for it. */
    forkd_vm_free(fork_ready(server, NULL, &brood.status[0]));
    forkd_server_free(server);
}

static gid_t group_of(int pid)
{
    char path[64];
    char line[256];
    gid_t group = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *status = fopen(path, "re");
    assert_non_null(status);
    while (fgets(line, sizeof line, status) != NULL && sscanf(line, "Gid: %u", &group) != 1)
        ;
    fclose(status);
    return group;
}

/* Inherited: no child can map anything more. Of the server's group: root alone has not the right everywhere.
 */
static void limit_memory(int pid, rlim_t size)
{
    struct rlimit limit = {size, RLIM_INFINITY};
    gid_t group = group_of(pid);
    assert_int_equal(setresgid(group, group, 0), 0);
    int result = prlimit(pid, RLIMIT_AS, &limit, NULL);
    assert_int_equal(setresgid(0, 0, 0), 0);
    assert_int_equal(result, 0);
}

static void children_without_memory_say_so(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start(fixture);
    int pid = forkd_server_pid(server);
    struct brood brood;
    ask(fixture, server, &brood, 0, SOME);
    assert_int_equal(wait_all(&brood, 0, SOME), SOME);
    limit_memory(pid, 1 << 20);
    ask(fixture, server, &brood, SOME, CHILDREN);
    assert_int_equal(wait_all(&brood, SOME, CHILDREN), 0);
    for (int i = SOME; i < CHILDREN; i++)
        assert_failed(&brood.status[i], ENOMEM);
    assert_still_ready(&brood, 0, SOME);
    free_all(&brood);
    wait_for_children(pid, 0);
    assert_no_sockets(fixture);
    forkd_server_free(server);
}

/* Nobody is given one of these when there is plenty again. */
static void children_are_not_parked_without_memory(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_server_options options = fixture->options;
    options.parked_count = 2;
    struct forkd_server *server = NULL;
    OK(forkd_server_start(&server, &options, &error));
    int pid = forkd_server_pid(server);
    wait_for_children(pid, 2);
    limit_memory(pid, 1 << 20);
    struct brood brood;
    ask(fixture, server, &brood, 0, SOME);
    int ready = wait_all(&brood, 0, SOME);
    assert_in_range(ready, 1, 2); /* those that were there */
    wait_for_children(pid, 2);
    usleep(50000); /* for it to try again */
    wait_for_children(pid, 2);
    limit_memory(pid, RLIM_INFINITY);
    ask(fixture, server, &brood, SOME, CHILDREN);
    assert_int_equal(wait_all(&brood, SOME, CHILDREN), CHILDREN - SOME);
    wait_for_children(pid, ready + CHILDREN - SOME + 2);
    free_all(&brood);
    forkd_server_free(server);
    assert_no_sockets(fixture);
}

static void server_killed_while_children_start_takes_all_along(void **state)
{
    struct fixture *fixture = *state;
    for (int killed_after = 0; killed_after < CHILDREN; killed_after++) {
        struct forkd_server *server = start(fixture);
        struct brood brood;
        ask(fixture, server, &brood, 0, killed_after);
        kill(forkd_server_pid(server), SIGKILL);
        struct forkd_error error = {0};
        for (int i = 0; i < killed_after; i++) {
            OK(forkd_vm_wait_end(brood.children[i], 20000, &brood.status[i], &error));
            assert_int_equal(brood.status[i].end, FORKD_END_KILLED);
            forkd_vm_free(brood.children[i]);
            if (brood.status[i].pid != 0)
                assert_gone(brood.status[i].pid);
        }
        forkd_server_free(server);
        assert_no_sockets(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_killed_while_children_start_takes_all_along),
        cmocka_unit_test(children_without_memory_say_so),
        cmocka_unit_test(children_are_not_parked_without_memory),
        cmocka_unit_test(children_beyond_the_limit_of_processes_say_so),
    };
    return cmocka_run_group_tests(tests, make_snapshot, remove_snapshot);
}
