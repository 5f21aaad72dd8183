/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM that is branched again and again while its guest writes to all of its disk: what it takes of the
 * host does not grow with the number of branches. That is 300, or what the first argument says: 10000 is the
 * long form.
 */
#include "snapshot.h"
#include "usage.h"

#include <sys/stat.h>

#define WAIT_MS 60000
#define DISK_SIZE (8u << 20)
/* So slow that no branch has all of it written since the one before. */
#define DISK_RATE (8u << 20)
#define SETTLED 100 /* branches after which nothing may grow any more */
/* AddressSanitizer keeps what was freed, to see it used (quarantine_size_mb). */
#ifdef __SANITIZE_ADDRESS__
#define KEPT_FREED (256u << 20)
#else
#define KEPT_FREED 0
#endif

static int branches = 300;

static void branch_once(struct forkd_vm *vm, const char *directory)
{
    struct forkd_error error = {0};
    struct forkd_server *twin = NULL;
    const struct forkd_branch_options options = {.directory = directory, .flags = FORKD_BRANCH_LAYER};
    assert_int_equal(mkdir(directory, 0700), 0);
    OK(forkd_vm_branch(vm, &options, &twin, NULL, &error));
    forkd_server_free(twin);
    /* Whatever it had written by then. */
    DIR *files = opendir(directory);
    assert_non_null(files);
    for (const struct dirent *entry; (entry = readdir(files)) != NULL;)
        unlinkat(dirfd(files), entry->d_name, 0);
    closedir(files);
    assert_int_equal(rmdir(directory), 0);
}

static void branches_cost_their_source_nothing_that_stays(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    char directory[128];
    char console[128];
    folder_file(&fixture->folder, "branch", directory, sizeof directory);
    folder_file(&fixture->folder, "console", console, sizeof console);
    struct forkd_server *server = start(fixture);
    struct forkd_vm *source = NULL;
    const struct forkd_child_options options = {
        .flags = FORKD_NO_AGENT, .console_path = console, .limits = {.disk_bytes_per_second = DISK_RATE}};
    OK(forkd_server_fork(server, &options, &source, &error));
    OK(forkd_vm_wait(source, WAIT_MS, &status, &error));
    int pid = status.pid;
    int descriptors = count_entries("/proc/%d/fd", pid);
    uint64_t memory = 0;
    for (int i = 0; i < branches; i++) {
        branch_once(source, directory);
        if (i == SETTLED)
            memory = own_memory(pid);
        /* The tops that are left alone, the one in use, and the one that is being made of two. */
        assert_true(count_entries("/proc/%d/fd", pid) <= descriptors + 24);
        assert_true(nameless_space(pid) <= 4 * DISK_SIZE);
    }
    assert_true(own_memory(pid) <= memory + KEPT_FREED + (1 << 20));
    char first = 0;
    int fd = open(console, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, &first, 1), 1);
    close(fd);
    assert_int_equal(first, '.');
    OK(forkd_vm_wait(source, 0, &status, &error));
    assert_int_equal(status.phase, FORKD_VM_READY);
    forkd_vm_free(source);
    forkd_server_free(server);
}

static int make(void **state)
{
    return make_snapshot_on(state, GUEST("scribble"), DISK_SIZE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(branches_cost_their_source_nothing_that_stays),
    };
    if (argc > 1)
        branches = atoi(argv[1]);
    return cmocka_run_group_tests(tests, make, remove_snapshot);
}
