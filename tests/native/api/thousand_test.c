/* SPDX-License-Identifier: Apache-2.0 */
/* A thousand children are alive together; each answers; then all are gone without a trace. */
#include "snapshot.h"

#ifdef __SANITIZE_ADDRESS__
#define CHILDREN 100 /* each has a sanitizer's memory of its own */
#else
#define CHILDREN 1000
#endif

static int set_up(void **state)
{
    return make_snapshot_of(state, GUEST("answer"));
}

static void thousand_children_answer_and_leave_no_trace(void **state)
{
    struct fixture *fixture = *state;
    static struct forkd_vm *children[CHILDREN];
    static struct forkd_vm_status status[CHILDREN];
    static char vsock[CHILDREN][128];
    struct forkd_error error = {0};
    int files = count_entries("%s", fixture->folder.path);
    struct forkd_server *server = start(fixture);
    int descriptors = count_entries("/proc/self/fd");
    for (int i = 0; i < CHILDREN; i++) {
        snprintf(vsock[i], sizeof vsock[i], "%s/%d.vsock", fixture->folder.path, i);
        struct forkd_child_options options = {.flags = FORKD_NO_AGENT, .vsock_path = vsock[i]};
        OK(forkd_server_fork(server, &options, &children[i], &error));
    }
    for (int i = 0; i < CHILDREN; i++) {
        OK(forkd_vm_wait(children[i], 60000, &status[i], &error));
        assert_int_equal(status[i].phase, FORKD_VM_READY);
    }
    assert_int_equal(count_children(forkd_server_pid(server)), CHILDREN);
    for (int i = 0; i < CHILDREN; i++)
        ask_child(children[i]);
    for (int i = 0; i < CHILDREN; i++) {
        assert_int_equal(kill(status[i].pid, 0), 0);
        forkd_vm_free(children[i]);
    }
    for (int i = 0; i < CHILDREN; i++)
        assert_gone(status[i].pid);
    wait_for_children(forkd_server_pid(server), 0);
    assert_int_equal(count_entries("/proc/self/fd"), descriptors);
    forkd_server_free(server);
    assert_int_equal(count_entries("%s", fixture->folder.path), files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
        thousand_children_answer_and_leave_no_trace, set_up, remove_snapshot)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
