/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that a guest says it does not use is the child's no more, and in no layer. */
#include "snapshot.h"
#include "usage.h"

#define WRITTEN (32u << 20)
#define LITTLE (2u << 20)

static void what_is_reported_is_given_back(void **state)
{
    const struct fixture *fixture = *state;
    struct forkd_vm_status status;
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    assert_true(own_guest_memory(status.pid) < LITTLE);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void what_is_reported_is_in_no_layer(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    char directory[128];
    char layer[160];
    folder_file(&fixture->folder, "branch", directory, sizeof directory);
    snprintf(layer, sizeof layer, "%s/memory.layer", directory);
    assert_int_equal(mkdir(directory, 0700), 0);
    struct forkd_server *server = start(fixture);
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    struct forkd_server *twin = NULL;
    const struct forkd_branch_options options = {.directory = directory, .flags = FORKD_BRANCH_LAYER};
    OK(forkd_vm_branch(child, &options, &twin, NULL, &error));
    OK(forkd_server_wait_written(twin, 20000, &error));
    struct stat info;
    assert_int_equal(stat(layer, &info), 0);
    assert_true(info.st_size < LITTLE);
    forkd_server_free(twin);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static int make(void **state)
{
    return make_snapshot_of(state, GUEST("report"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_reported_is_given_back),
        cmocka_unit_test(what_is_reported_is_in_no_layer),
    };
    return cmocka_run_group_tests_name("report", tests, make, remove_snapshot);
}
