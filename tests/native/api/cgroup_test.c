/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever is asked to be in a cgroup is in it, from the beginning, and what is not, is not: with root's
 * server, and with that of another user to whom a part of the tree is delegated. What a controller then does
 * is the kernel's. As root; the tree is mounted for this program alone, so that it does not matter where, or
 * whether, it is.
 */
#include "stranger.h"

#include <sys/wait.h>

#define WAIT_MS 30000

struct place {
    struct fixture *fixture;
    char tree[80];
    char groups[160]; /* below it, of this test */
    char name[64];
};

static char *group(const struct place *place, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", place->groups, name);
    return path;
}
#define GROUP(place, name) group(place, name, (char[256]){0}, 256)

/* A new one, of whoever asks. */
static const char *make_group(const char *path)
{
    if (mkdir(path, 0755) < 0)
        fail_msg("%s: %s", path, strerror(errno));
    return path;
}

/* It is empty a moment after its last process is gone. */
static void remove_group(const char *path)
{
    for (int i = 0; i < WAIT_MS / 10 && rmdir(path) < 0 && errno == EBUSY; i++)
        usleep(10000);
    assert_int_equal(access(path, F_OK), -1);
}

/* Whether the process, all of its threads, is there. */
static bool is_in(const struct place *place, const char *name, int pid)
{
    char command[512];
    snprintf(command, sizeof command, "! grep -h '^0:' /proc/%d/task/*/cgroup | grep -qvx '0::/%s/%s'", pid,
             place->name, name);
    return system(command) == 0;
}

static struct forkd_vm *fork_into(struct forkd_server *server, const char *cgroup,
                                  struct forkd_vm_status *status)
{
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    const struct forkd_child_options options = {.flags = FORKD_NO_AGENT, .cgroup_path = cgroup};
    OK(forkd_server_fork(server, &options, &child, &error));
    OK(forkd_vm_wait(child, WAIT_MS, status, &error));
    if (status->phase != FORKD_VM_READY)
        fail_msg("the child ended: %s", status->error.text);
    return child;
}

static struct forkd_server *start_with(const struct place *place, uint32_t parked, const char *control)
{
    struct forkd_server_options options = place->fixture->options;
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    options.parked_count = parked;
    options.control_path = control;
    options.idle_timeout_ms = 100; /* of a detached one, which nobody ends */
    OK(forkd_server_start(&server, &options, &error));
    return server;
}

/* Of one that has none parked, has some, and keeps them to itself. */
static void children_are_born_where_they_are_asked_to_be(void **state)
{
    const struct place *place = *state;
    const char *const controls[] = {NULL, NULL, FILE_IN(place->fixture->folder, "server")};
    for (uint32_t i = 0; i < 3; i++) {
        struct forkd_vm_status status;
        struct forkd_server *server = start_with(place, i == 0 ? 0 : 2, controls[i]);
        if (i > 0)
            wait_for_children(forkd_server_pid(server), 2);
        struct forkd_vm *first = fork_into(server, make_group(GROUP(place, "first")), &status);
        assert_true(is_in(place, "first", status.pid));
        struct forkd_vm *second = fork_into(server, make_group(GROUP(place, "second")), &status);
        assert_true(is_in(place, "second", status.pid));
        struct forkd_vm *other = fork_ready(server, NULL, &status);
        assert_true(is_in(place, "home", status.pid));
        forkd_vm_free(other);
        forkd_vm_free(second);
        forkd_vm_free(first);
        remove_group(GROUP(place, "first"));
        remove_group(GROUP(place, "second"));
        forkd_server_free(server);
    }
}

static struct forkd_vm *boot_into(const struct place *place, const char *cgroup,
                                  struct forkd_vm_status *status)
{
    struct forkd_error error = {0};
    struct forkd_boot_options options = boot_options(place->fixture->guest);
    options.vmm_path = place->fixture->options.vmm_path;
    options.scratch_dir = place->fixture->folder.path;
    options.cgroup_path = cgroup;
    struct forkd_vm *vm = boot(&options);
    OK(forkd_vm_wait(vm, WAIT_MS, status, &error));
    assert_int_equal(status->phase, FORKD_VM_READY);
    return vm;
}

/* Which is written. */
static struct forkd_server *branch_into(const struct place *place, struct forkd_vm *vm, const char *cgroup,
                                        int *pid)
{
    struct forkd_error error = {0};
    struct forkd_branch_result result;
    struct forkd_server *twin = NULL;
    char command[256];
    const struct forkd_branch_options options = {.directory = FILE_IN(place->fixture->folder, "branch"),
                                                 .cgroup_path = cgroup};
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir '%s'", options.directory, options.directory);
    assert_int_equal(system(command), 0);
    OK(forkd_vm_branch(vm, &options, &twin, &result, &error));
    OK(forkd_server_wait_written(twin, WAIT_MS, &error));
    *pid = result.pid;
    return twin;
}

static void a_vm_that_boots_is_where_it_is_asked_to_be(void **state)
{
    const struct place *place = *state;
    struct forkd_vm_status status;
    struct forkd_vm *vm = boot_into(place, make_group(GROUP(place, "booted")), &status);
    assert_true(is_in(place, "booted", status.pid));
    forkd_vm_free(vm);
    remove_group(GROUP(place, "booted"));
}

/* And its children in theirs, though root's branch is another user. */
static void a_branch_leaves_its_sources(void **state)
{
    const struct place *place = *state;
    struct forkd_vm_status status;
    int pid = 0;
    struct forkd_vm *source = boot_into(place, make_group(GROUP(place, "source")), &status);
    struct forkd_server *twin = branch_into(place, source, make_group(GROUP(place, "twin")), &pid);
    assert_true(is_in(place, "twin", pid));
    assert_true(is_in(place, "source", status.pid));
    struct forkd_vm *child = fork_into(twin, make_group(GROUP(place, "child")), &status);
    assert_true(is_in(place, "child", status.pid));
    struct forkd_vm *other = fork_ready(twin, NULL, &status);
    assert_true(is_in(place, "twin", status.pid));
    forkd_vm_free(other);
    forkd_vm_free(child);
    forkd_vm_free(source);
    forkd_server_free(twin);
    remove_group(GROUP(place, "child"));
    remove_group(GROUP(place, "source"));
    remove_group(GROUP(place, "twin"));
}

/* As against one of fork(2): the C library knows another number of its first thread. */
static void a_child_that_was_born_in_one_is_branched_and_killed(void **state)
{
    const struct place *place = *state;
    struct forkd_vm_status status;
    int pid = 0;
    struct forkd_server *server = start_with(place, 0, NULL);
    struct forkd_vm *child = fork_into(server, make_group(GROUP(place, "child")), &status);
    struct forkd_server *twin = branch_into(place, child, NULL, &pid);
    assert_true(is_in(place, "child", pid));
    forkd_vm_kill(child);
    forkd_vm_free(child);
    forkd_server_free(twin);
    forkd_server_free(server);
    remove_group(GROUP(place, "child"));
}

static int try_fork(struct forkd_server *server, const char *cgroup, struct forkd_error *error)
{
    struct forkd_vm *child = NULL;
    const struct forkd_child_options options = {.flags = FORKD_NO_AGENT, .cgroup_path = cgroup};
    return forkd_server_fork(server, &options, &child, error);
}

static void what_is_no_cgroup_is_refused_by_name(void **state)
{
    const struct place *place = *state;
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    struct forkd_vm *vm = NULL;
    struct forkd_server *twin = NULL;
    const char *folder = place->fixture->folder.path;
    struct forkd_server *server = start_with(place, 0, NULL);
    assert_int_equal(try_fork(server, folder, &error), -EINVAL);
    assert_non_null(strstr(error.text, folder));
    assert_int_equal(try_fork(server, GROUP(place, "none"), &error), -ENOENT);
    assert_string_equal(error.object, GROUP(place, "none"));
    struct forkd_vm *child = fork_ready(server, NULL, &status);
    const struct forkd_branch_options branch = {.directory = folder, .cgroup_path = folder};
    assert_int_equal(forkd_vm_branch(child, &branch, &twin, NULL, &error), -EINVAL);
    struct forkd_boot_options options = boot_options(place->fixture->guest);
    options.cgroup_path = folder;
    assert_int_equal(forkd_vm_boot(&vm, &options, &error), -EINVAL);
    assert_int_equal(access(FILE_IN(place->fixture->folder, "cgroup.procs"), F_OK), -1);
    forkd_vm_free(child);
    forkd_server_free(server);
}

/* That nobody has delegated to this user: not at first, and not when it is taken away again. */
static void what_is_anothers_is_refused(void **state)
{
    const struct place *place = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = start_with(place, 0, NULL);
    become(0);
    make_group(GROUP(place, "roots"));
    become(STRANGER);
    assert_int_equal(try_fork(server, GROUP(place, "roots"), &error), -EACCES);
    assert_non_null(strstr(error.text, "roots"));
    forkd_server_free(server);
    become(0);
    remove_group(GROUP(place, "roots"));
    become(STRANGER);
}

static void move_here(const char *path)
{
    char procs[300];
    snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
    write_file(procs, "0");
}

static int make_place_of(void **state, uid_t user)
{
    struct place *place = calloc(1, sizeof *place);
    void *fixture = NULL;
    char path[256];
    assert_int_equal(make_snapshot(&fixture), 0);
    place->fixture = fixture;
    folder_file(&place->fixture->folder, "tree", place->tree, sizeof place->tree);
    snprintf(place->name, sizeof place->name, "forkd-test-%d", getpid());
    snprintf(place->groups, sizeof place->groups, "%s/%s", place->tree, place->name);
    give_to_stranger(place->fixture);
    own_mounts();
    require(mkdir(place->tree, 0755) == 0 && mount("none", place->tree, "cgroup2", 0, NULL) == 0,
            "mount the cgroups");
    make_group(place->groups);
    make_group(group(place, "home", path, sizeof path));
    move_here(path); /* what is started is there, and its way elsewhere leads over what is the user's */
    if (user != 0) {
        char command[400];
        snprintf(command, sizeof command, "chown -R %d '%s'", user, place->groups);
        assert_int_equal(system(command), 0);
        put_kvm(place->fixture, KVM_DEVICE, 0666);
    }
    become(user);
    *state = place;
    return 0;
}

static int make_place(void **state)
{
    return make_place_of(state, 0);
}

static int make_place_of_stranger(void **state)
{
    return make_place_of(state, STRANGER);
}

static int leave_place(void **state)
{
    struct place *place = *state;
    void *fixture = place->fixture;
    become(0);
    move_here(place->tree);
    remove_group(GROUP(place, "home"));
    remove_group(place->groups);
    require(umount(place->tree) == 0, "unmount the cgroups");
    remove_snapshot(&fixture);
    free(place);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_are_born_where_they_are_asked_to_be),
        cmocka_unit_test(a_vm_that_boots_is_where_it_is_asked_to_be),
        cmocka_unit_test(a_branch_leaves_its_sources),
        cmocka_unit_test(a_child_that_was_born_in_one_is_branched_and_killed),
        cmocka_unit_test(what_is_no_cgroup_is_refused_by_name),
    };
    const struct CMUnitTest of_others[] = {
        cmocka_unit_test(children_are_born_where_they_are_asked_to_be),
        cmocka_unit_test(a_vm_that_boots_is_where_it_is_asked_to_be),
        cmocka_unit_test(a_branch_leaves_its_sources),
        cmocka_unit_test(a_child_that_was_born_in_one_is_branched_and_killed),
        cmocka_unit_test(what_is_anothers_is_refused),
    };
    int failed = cmocka_run_group_tests_name("root", tests, make_place, leave_place);
    return failed +
           cmocka_run_group_tests_name("another user", of_others, make_place_of_stranger, leave_place);
}
