/* SPDX-License-Identifier: Apache-2.0 */
/* Branches of a running VM (sequence.h). */
#include "sequence.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define BRANCHES 200
#define KILLS 50 /* of each kind of process, at random moments */

/* --- the instant ------------------------------------------------------------------------------------------
 */

/* Every other branch is forked from before it is on disk, the rest afterwards, from its files. */
static void every_branch_is_of_one_instant(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char console[128];
    folder_file(&fixture->folder, "source.console", console, sizeof console);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, console, NULL);
    for (int i = 0; i < BRANCHES; i++) {
        char directory[128];
        make_directory(fixture, "branch", directory, sizeof directory);
        struct forkd_server *twin = branch(source, directory, 0, NULL);
        if (i % 2 == 0)
            assert_right(fixture, twin);
        OK(forkd_server_wait_written(twin, WAIT_MS, &error));
        forkd_server_free(twin);
        if (i % 2 == 1) {
            struct forkd_server *again = start_flat(fixture, directory);
            assert_right(fixture, again);
            forkd_server_free(again);
        }
        remove_directory(directory);
    }
    wait_for_dots(console, dots(console) + 2);
    forkd_vm_free(source);
    forkd_server_free(server);
}

/* For children that are forked now; a branch of such a child, which is written, has what it had. */
static void branch_that_is_not_written_gives_children(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char unwritten[128];
    char written[128];
    make_directory(fixture, "unwritten", unwritten, sizeof unwritten);
    make_directory(fixture, "written", written, sizeof written);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, NULL, NULL);
    struct forkd_branch_options both = {.directory = unwritten,
                                        .flags = FORKD_BRANCH_UNWRITTEN | FORKD_BRANCH_LAYER};
    struct forkd_server *twin = NULL;
    assert_int_equal(forkd_vm_branch(source, &both, &twin, NULL, &error), -EINVAL);
    twin = branch(source, unwritten, FORKD_BRANCH_UNWRITTEN, NULL);
    assert_right(fixture, twin);
    assert_int_equal(forkd_server_wait_written(twin, 500, &error), -ETIMEDOUT);
    assert_false(exists_in(unwritten, "memory.bin") || exists_in(unwritten, "vmstate"));
    struct forkd_vm *child = fork_child(twin, NULL, NULL);
    struct forkd_server *grandtwin = branch(child, written, 0, NULL);
    forkd_server_free(twin);
    OK(forkd_server_wait_written(grandtwin, WAIT_MS, &error));
    forkd_server_free(grandtwin);
    struct forkd_server *again = start_flat(fixture, written);
    assert_right(fixture, again);
    forkd_server_free(again);
    forkd_vm_free(child);
    forkd_vm_free(source);
    forkd_server_free(server);
    remove_directory(unwritten);
    remove_directory(written);
}

static void branches_at_the_same_time_are_each_right(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, NULL, NULL);
    struct forkd_server *twins[8];
    char directories[8][128];
    for (int i = 0; i < 8; i++) {
        char name[16];
        snprintf(name, sizeof name, "branch-%d", i);
        make_directory(fixture, name, directories[i], sizeof directories[i]);
        twins[i] = branch(source, directories[i], 0, NULL);
    }
    forkd_vm_free(source); /* they live on without it, and without its server */
    forkd_server_free(server);
    for (int i = 0; i < 8; i++) {
        assert_right(fixture, twins[i]);
        OK(forkd_server_wait_written(twins[i], WAIT_MS, &error));
        forkd_server_free(twins[i]);
        remove_directory(directories[i]);
    }
}

static uint64_t allocated(const char *directory, const char *name)
{
    char path[256];
    struct stat info;
    assert_int_equal(stat(path_in(directory, name, path, sizeof path), &info), 0);
    return (uint64_t)info.st_blocks * 512;
}

/* Three links of layers over the base, each a branch of a child of the one before. */
static void chain_of_layers_restores_what_it_was_made_of(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char folders[4][128];
    const char *chain[4] = {fixture->base};
    char memory[256];
    path_in(fixture->base, "memory.bin", memory, sizeof memory);
    for (int i = 1; i < 4; i++) {
        struct forkd_server *server = start_chain(fixture, memory, chain, i, NULL);
        char console[128];
        folder_file(&fixture->folder, "link.console", console, sizeof console);
        unlink(console);
        struct forkd_vm *child = fork_child(server, console, NULL);
        wait_for_dots(console, 1);
        char name[16];
        snprintf(name, sizeof name, "link-%d", i);
        make_directory(fixture, name, folders[i], sizeof folders[i]);
        struct forkd_server *twin = branch(child, folders[i], FORKD_BRANCH_LAYER, NULL);
        OK(forkd_server_wait_written(twin, WAIT_MS, &error));
        assert_right(fixture, twin);
        forkd_server_free(twin);
        forkd_vm_free(child);
        forkd_server_free(server);
        assert_false(exists_in(folders[i], "memory.bin"));
        assert_true(allocated(folders[i], "memory.layer") < MEMORY / 8);
        chain[i] = folders[i];
        char layers[4][256];
        const char *paths[4];
        for (int j = 1; j <= i; j++)
            paths[j - 1] = path_in(folders[j], "memory.layer", layers[j], sizeof layers[j]);
        snprintf(memory, sizeof memory, "%s/memory.flat", folders[i]);
        char base[256];
        OK(forkd_memory_flatten(path_in(fixture->base, "memory.bin", base, sizeof base), paths, (uint32_t)i,
                                memory, &error));
        struct forkd_server *restored = start_chain(fixture, memory, chain, i + 1, NULL);
        assert_right(fixture, restored);
        forkd_server_free(restored);
    }
    /* The disk's layers, merged, serve as well as each for itself. */
    char layers[4][256];
    const char *paths[4];
    for (int i = 0; i < 4; i++)
        paths[i] = path_in(chain[i], "disk-0.layer", layers[i], sizeof layers[i]);
    const struct forkd_disk disk = {.path = fixture->disk, .layer_paths = paths, .layer_count = 4};
    char flat[128];
    make_directory(fixture, "compact", flat, sizeof flat);
    char out[256];
    OK(forkd_disk_flatten(&disk, path_in(flat, "disk-0.layer", out, sizeof out), &error));
    assert_int_equal(forkd_disk_flatten(&disk, out, &error), -EEXIST);
    char vmstate[256];
    assert_int_equal(link(path_in(folders[3], "vmstate", vmstate, sizeof vmstate),
                          path_in(flat, "vmstate", out, sizeof out)),
                     0);
    const char *only = flat;
    struct forkd_server *compact = start_chain(fixture, memory, &only, 1, NULL);
    assert_right(fixture, compact);
    forkd_server_free(compact);
}

static void branch_of_a_branch_that_is_not_on_disk_yet(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char first[128];
    char second[128];
    make_directory(fixture, "first", first, sizeof first);
    make_directory(fixture, "second", second, sizeof second);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, NULL, NULL);
    struct forkd_server *twin = branch(source, first, 0, NULL);
    struct forkd_vm *child = fork_child(twin, NULL, NULL);
    struct forkd_server *grandtwin = branch(child, second, 0, NULL);
    forkd_vm_free(child);
    forkd_server_free(twin); /* before it was written, perhaps: that must not matter to the other */
    OK(forkd_server_wait_written(grandtwin, WAIT_MS, &error));
    assert_right(fixture, grandtwin);
    forkd_server_free(grandtwin);
    struct forkd_server *again = start_flat(fixture, second);
    assert_right(fixture, again);
    forkd_server_free(again);
    forkd_vm_free(source);
    forkd_server_free(server);
}

static void booted_vm_can_be_branched_but_not_as_a_layer(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char directory[128];
    make_directory(fixture, "booted", directory, sizeof directory);
    const struct forkd_disk disk = {.path = fixture->disk};
    struct forkd_boot_options options = boot_options(GUEST("sequence"));
    options.disks = &disk;
    options.disk_count = 1;
    struct forkd_vm *vm = boot(&options);
    struct forkd_branch_options wanted = {.directory = directory, .flags = FORKD_BRANCH_LAYER};
    struct forkd_server *twin = NULL;
    OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
    assert_int_equal(forkd_vm_branch(vm, &wanted, &twin, NULL, &error), -EINVAL);
    twin = branch(vm, directory, 0, NULL);
    assert_right(fixture, twin);
    OK(forkd_server_wait_written(twin, WAIT_MS, &error));
    forkd_server_free(twin);
    wanted.flags = 0;
    assert_int_equal(forkd_vm_branch(vm, &wanted, &twin, NULL, &error), -EEXIST);
    forkd_vm_free(vm);
}

/* Nothing may happen in it that is not in what was written. */
static void one_that_was_written_down_never_runs_again(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char console[128];
    char directory[128];
    char other[128];
    folder_file(&fixture->folder, "still.console", console, sizeof console);
    make_directory(fixture, "still", directory, sizeof directory);
    make_directory(fixture, "still-other", other, sizeof other);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *vm = fork_child(server, console, NULL);
    wait_for_dots(console, 1);
    OK(forkd_vm_snapshot(vm, directory, &error));
    int before = dots(console);
    const struct forkd_branch_options options = {.directory = other};
    struct forkd_server *twin = NULL;
    assert_int_equal(forkd_vm_branch(vm, &options, &twin, NULL, &error), -EBUSY);
    assert_int_equal(forkd_vm_snapshot(vm, other, &error), -EBUSY);
    assert_int_equal(count_files(other), 0);
    assert_int_equal(forkd_vm_snapshot(vm, "/proc", &error), -EBUSY); /* one that could not be written */
    usleep(300000);
    assert_int_equal(dots(console), before);
    forkd_vm_free(vm);
    forkd_server_free(server);
}

/* --- copying while it runs --------------------------------------------------------------------------------
 */

/* A child that has read much and written to little, here and there, and stands still. */
static struct forkd_vm *fork_reader(const struct fixture *fixture, const char *command_line,
                                    uint64_t memory_mib, struct forkd_server **server)
{
    struct forkd_error error = {0};
    struct forkd_boot_options options = boot_options(GUEST("dirty"));
    options.command_line = command_line;
    options.memory_bytes = memory_mib << 20;
    options.vcpu_count = 1;
    struct forkd_vm *vm = boot(&options);
    OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
    char folder[128];
    char memory[256];
    char vmstate[256];
    path_in(fixture->folder.path, "reader", folder, sizeof folder);
    remove_directory(folder);
    make_directory(fixture, "reader", folder, sizeof folder);
    OK(forkd_vm_snapshot(vm, folder, &error));
    forkd_vm_free(vm);
    const struct forkd_server_options of_files = {
        .vmm_path = FORKD_VMM,
        .memory_path = path_in(folder, "memory.bin", memory, sizeof memory),
        .vmstate_path = path_in(folder, "vmstate", vmstate, sizeof vmstate)};
    OK(forkd_server_start(server, &of_files, &error));
    vm = fork_child(*server, NULL, NULL);
    usleep(1000000); /* it has said that it is ready, and gets to its end */
    return vm;
}

/* Returns how it was done. */
static uint32_t branch_by(struct forkd_vm *vm, const char *directory, uint32_t wanted)
{
    struct forkd_error error = {0};
    struct forkd_branch_result result;
    const struct forkd_branch_options options = {.directory = directory, .way = wanted};
    struct forkd_server *twin = NULL;
    OK(forkd_vm_branch(vm, &options, &twin, &result, &error));
    OK(forkd_server_wait_written(twin, WAIT_MS, &error));
    forkd_server_free(twin);
    return result.way;
}

static void assert_same_memory(const char *one, const char *other)
{
    char command[600];
    snprintf(command, sizeof command, "cmp '%s/memory.bin' '%s/memory.bin'", one, other);
    assert_int_equal(system(command), 0);
}

/* Nothing happens in it any more: so both ways have to write the same. */
static void both_ways_write_the_same(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = NULL;
    char forked[128];
    char copied[128];
    make_directory(fixture, "forked", forked, sizeof forked);
    make_directory(fixture, "copied", copied, sizeof copied);
    struct forkd_vm *vm = fork_reader(fixture, "8s640", 704, &server);
    assert_int_equal(branch_by(vm, forked, FORKD_BRANCH_FORK), FORKD_BRANCH_FORK);
    /* More than half of it is clean, and fork(2) would take long. */
    assert_int_equal(branch_by(vm, copied, FORKD_BRANCH_CHOOSE), FORKD_BRANCH_PRECOPY);
    assert_same_memory(forked, copied);
    forkd_vm_free(vm);
    forkd_server_free(server);
    remove_directory(forked);
    remove_directory(copied);
    /* With memory on both sides of the hole, and too little to copy for. */
    make_directory(fixture, "forked", forked, sizeof forked);
    make_directory(fixture, "copied", copied, sizeof copied);
    vm = fork_reader(fixture, "8", 3200, &server);
    assert_int_equal(branch_by(vm, forked, FORKD_BRANCH_CHOOSE), FORKD_BRANCH_FORK);
    assert_int_equal(branch_by(vm, copied, FORKD_BRANCH_PRECOPY), FORKD_BRANCH_PRECOPY);
    assert_same_memory(forked, copied);
    forkd_vm_free(vm);
    forkd_server_free(server);
    remove_directory(forked);
    remove_directory(copied);
}

static void unknown_way_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *vm = fork_child(server, NULL, NULL);
    const struct forkd_branch_options options = {.directory = fixture->folder.path, .way = 3};
    struct forkd_server *twin = NULL;
    assert_int_equal(forkd_vm_branch(vm, &options, &twin, NULL, &error), -EINVAL);
    forkd_vm_free(vm);
    forkd_server_free(server);
}

struct owner {
    const struct fixture *fixture;
    const char *control;
    int number;
    int failures;
};

/* cmocka's checks are for the first thread. */
static void *branch_again_and_again(void *argument)
{
    struct owner *owner = argument;
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    owner->failures += forkd_vm_attach(&vm, owner->control, &error) < 0;
    for (int i = 0; i < 20 && owner->failures == 0; i++) {
        char name[32];
        char directory[128];
        snprintf(name, sizeof name, "owner-%d-%d", owner->number, i);
        path_in(owner->fixture->folder.path, name, directory, sizeof directory);
        owner->failures += mkdir(directory, 0700) < 0;
        const struct forkd_branch_options options = {.directory = directory, .way = FORKD_BRANCH_PRECOPY};
        struct forkd_branch_result result = {0};
        struct forkd_server *twin = NULL;
        if (forkd_vm_branch(vm, &options, &twin, &result, &error) < 0 ||
            forkd_server_wait_written(twin, WAIT_MS, &error) < 0 || result.way == FORKD_BRANCH_CHOOSE)
            owner->failures++;
        forkd_server_free(twin);
    }
    forkd_vm_free(vm);
    return NULL;
}

/* What one asks for has what the other has begun be done in the other way. */
static void owners_branch_it_at_the_same_time(void **state)
{
    struct fixture *fixture = *state;
    const char *control = FILE_IN(fixture->folder, "owned");
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *vm = fork_child(server, NULL, control);
    struct owner owners[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        owners[i] = (struct owner){.fixture = fixture, .control = control, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, branch_again_and_again, &owners[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(owners[i].failures, 0);
    }
    for (int i = 0; i < 60; i++) {
        char name[32];
        char directory[128];
        snprintf(name, sizeof name, "owner-%d-%d", i % 3, i / 3);
        path_in(fixture->folder.path, name, directory, sizeof directory);
        if (i < 15) {
            struct forkd_server *again = start_flat(fixture, directory);
            assert_right(fixture, again);
            forkd_server_free(again);
        }
        remove_directory(directory);
    }
    forkd_vm_kill(vm);
    forkd_vm_free(vm);
    forkd_server_free(server);
}

/* --- what is left -----------------------------------------------------------------------------------------
 */

static int count_fds(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    return count_files(path);
}

static void the_source_is_afterwards_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char directory[128];
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, NULL, NULL);
    int before = 0;
    for (int i = 0; i < 20; i++) {
        make_directory(fixture, "fds", directory, sizeof directory);
        struct forkd_server *twin = branch(source, directory, 0, NULL);
        int twin_pid = forkd_server_pid(twin);
        OK(forkd_server_wait_written(twin, WAIT_MS, &error));
        /* No descriptor of the source's KVM, sockets or event loop is in the twin. */
        assert_true(count_fds(twin_pid) < 40);
        forkd_server_free(twin);
        assert_gone(twin_pid);
        remove_directory(directory);
        if (i == 0)
            before = count_fds(pid_of(source));
    }
    /* One more for each frozen top of the disk that has not been put together with others. */
    assert_true(count_fds(pid_of(source)) <= before + 19);
    forkd_vm_free(source);
    forkd_server_free(server);
}

/* A snapshot that restores rightly, or none. */
static void assert_whole_or_none(const struct fixture *fixture, const char *directory)
{
    if (!exists_in(directory, "vmstate"))
        return;
    struct forkd_server *again = start_flat(fixture, directory);
    assert_right(fixture, again);
    forkd_server_free(again);
}

/* A process that kills another at a random moment of the next milliseconds. */
static pid_t start_killer(int pid)
{
    useconds_t delay = (useconds_t)(rand() % 8000);
    pid_t killer = fork();
    if (killer == 0) {
        usleep(delay);
        kill(pid, SIGKILL);
        _exit(0);
    }
    assert_true(killer > 0);
    return killer;
}

static int first_child(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *file = fopen(path, "re");
    int child = 0;
    if (file == NULL || fscanf(file, "%d", &child) != 1)
        child = 0;
    if (file != NULL)
        fclose(file);
    return child;
}

/* Whoever writes a branch is killed when what it belongs to is, but a moment later: until nobody has anything
 * of the directory open. */
static void await_unused(const char *directory)
{
    char command[300];
    snprintf(command, sizeof command, "find /proc/[0-9]*/fd -lname '%s*' 2>/dev/null | grep -q .", directory);
    for (int i = 0; i < 1000; i++) {
        if (system(command) != 0)
            return;
        usleep(10000);
    }
    fail_msg("%s: still in use", directory);
}

static void killed_source_leaves_a_whole_branch_or_none(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = start_flat(fixture, fixture->base);
    for (int i = 0; i < KILLS; i++) {
        char directory[128];
        make_directory(fixture, "killed", directory, sizeof directory);
        struct forkd_vm *source = fork_child(server, NULL, NULL);
        pid_t killer = start_killer(pid_of(source));
        usleep((useconds_t)(rand() % 8000));
        const struct forkd_branch_options options = {.directory = directory, .way = way};
        struct forkd_server *twin = NULL;
        int result = forkd_vm_branch(source, &options, &twin, NULL, &error);
        assert_int_equal(waitpid(killer, NULL, 0), killer);
        if (result == 0) {
            OK(forkd_server_wait_written(twin, WAIT_MS, &error));
            assert_true(exists_in(directory, "vmstate"));
            forkd_server_free(twin);
        } else {
            assert_int_equal(result, -EPIPE);
        }
        await_unused(directory);
        assert_whole_or_none(fixture, directory);
        forkd_vm_free(source);
        remove_directory(directory);
    }
    forkd_server_free(server);
}

/* Of a branch: the twin itself, the process that writes, a child that runs in it. */
static void killed_twin_writer_or_child_leaves_a_whole_branch_or_none(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, NULL, NULL);
    for (int i = 0; i < 3 * KILLS; i++) {
        char directory[128];
        make_directory(fixture, "killed", directory, sizeof directory);
        struct forkd_server *twin = branch(source, directory, 0, NULL);
        struct forkd_vm *child = i % 3 == 2 ? fork_child(twin, NULL, NULL) : NULL;
        struct forkd_server_status status; /* a twin that answers has started its writer */
        OK(forkd_server_get_status(twin, &status, &error));
        int writer = first_child(forkd_server_pid(twin));
        int victim = i % 3 == 0 ? forkd_server_pid(twin) : i % 3 == 1 ? writer : pid_of(child);
        pid_t killer = victim > 0 ? start_killer(victim) : -1;
        int result = forkd_server_wait_written(twin, WAIT_MS, &error);
        if (i % 3 == 2)
            assert_int_equal(result, 0);
        else if (result < 0)
            assert_int_equal(result, -EPIPE);
        if (killer > 0)
            assert_int_equal(waitpid(killer, NULL, 0), killer);
        if (i % 15 == 1) /* what was to be written is still served, now and then looked at */
            assert_right(fixture, twin);
        forkd_vm_free(child);
        forkd_server_free(twin);
        await_unused(directory);
        assert_whole_or_none(fixture, directory);
        remove_directory(directory);
    }
    assert_right(fixture, server);
    forkd_vm_free(source);
    forkd_server_free(server);
}

/* Whoever begins first has the folder. */
static void two_branches_into_one_folder_exclude_each_other(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *sources[2] = {fork_child(server, NULL, NULL), fork_child(server, NULL, NULL)};
    for (int i = 0; i < 10; i++) {
        char directory[128];
        make_directory(fixture, "both", directory, sizeof directory);
        struct forkd_server *first = branch(sources[i % 2], directory, 0, NULL);
        const struct forkd_branch_options options = {.directory = directory};
        struct forkd_server *second = NULL;
        assert_int_equal(forkd_vm_branch(sources[1 - i % 2], &options, &second, NULL, &error), -EEXIST);
        OK(forkd_server_wait_written(first, WAIT_MS, &error));
        forkd_server_free(first);
        assert_true(exists_in(directory, "vmstate"));
        assert_whole_or_none(fixture, directory);
        remove_directory(directory);
    }
    for (int i = 0; i < 2; i++)
        forkd_vm_free(sources[i]);
    forkd_server_free(server);
}

static void branch_leaves_files_that_are_in_its_way(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char directory[128];
    char path[256];
    make_directory(fixture, "in-the-way", directory, sizeof directory);
    write_file(path_in(directory, "disk-0.layer", path, sizeof path), "mine");
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, NULL, NULL);
    const struct forkd_branch_options options = {.directory = directory};
    struct forkd_server *twin = NULL;
    assert_int_equal(forkd_vm_branch(source, &options, &twin, NULL, &error), -EEXIST);
    assert_file_holds(path, "mine");
    assert_int_equal(count_files(directory), 1);
    forkd_vm_free(source);
    forkd_server_free(server);
}

static void full_disk_fails_the_branch_and_not_the_source(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char mount[128];
    char command[512];
    char console[128];
    make_directory(fixture, "small", mount, sizeof mount);
    folder_file(&fixture->folder, "full.console", console, sizeof console);
    snprintf(command, sizeof command, "mount -t tmpfs -o size=512k none '%s'", mount);
    if (system(command) != 0)
        fail_msg("cannot mount a tmpfs: run the native tests as root");
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, console, NULL);
    struct forkd_server *twin = branch(source, mount, 0, NULL);
    int result = forkd_server_wait_written(twin, WAIT_MS, &error);
    struct forkd_server_status status;
    OK(forkd_server_get_status(twin, &status, &error));
    int left = count_files(mount);
    assert_right(fixture, twin);
    forkd_server_free(twin);
    snprintf(command, sizeof command, "umount '%s'", mount);
    assert_int_equal(system(command), 0);
    assert_int_equal(result, -ENOSPC);
    assert_int_equal(status.write_state, FORKD_WRITE_FAILED);
    assert_int_equal(left, 0);
    wait_for_dots(console, dots(console) + 2);
    forkd_vm_free(source);
    forkd_server_free(server);
}

/* --- detached ---------------------------------------------------------------------------------------------
 */

static void detached_child_outlives_handle_and_server(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char control[128];
    char console[128];
    folder_file(&fixture->folder, "control", control, sizeof control);
    folder_file(&fixture->folder, "detached.console", console, sizeof console);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *child = fork_child(server, console, control);
    int pid = pid_of(child);
    struct stat info;
    assert_int_equal(stat(control, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    forkd_vm_free(child);
    forkd_server_free(server);
    wait_for_dots(console, dots(console) + 2);

    struct forkd_vm *one = NULL;
    struct forkd_vm *other = NULL;
    struct forkd_vm_status status;
    OK(forkd_vm_attach(&one, control, &error));
    OK(forkd_vm_attach(&other, control, &error));
    OK(forkd_vm_wait(other, 0, &status, &error));
    assert_int_equal(status.phase, FORKD_VM_READY);
    assert_int_equal(status.pid, pid);
    char directory[128];
    make_directory(fixture, "of-detached", directory, sizeof directory);
    struct forkd_server *twin = branch(one, directory, 0, NULL);
    forkd_vm_free(one);
    forkd_vm_kill(other);
    forkd_vm_free(other);
    assert_gone(pid);
    assert_int_equal(forkd_vm_attach(&one, control, &error), -ECONNREFUSED);
    OK(forkd_server_wait_written(twin, WAIT_MS, &error));
    assert_right(fixture, twin);
    forkd_server_free(twin);
    unlink(control);
    assert_int_equal(forkd_vm_attach(&one, control, &error), -ENOENT);
}

/* A child that runs by itself; the handle is freed. */
static struct forkd_vm_status leave_detached(struct forkd_server *server, const char *control)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    struct forkd_vm *child = fork_child(server, NULL, control);
    OK(forkd_vm_wait(child, 0, &status, &error));
    forkd_vm_free(child);
    return status;
}

/* By its number alone, as long as that is not another process's. */
static void process_of_a_detached_child_is_killed_by_number_and_start(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm_status status = leave_detached(server, FILE_IN(fixture->folder, "by-number"));
    assert_true(status.start_time != 0);
    assert_int_equal(status.host_full, 0);
    assert_int_equal(forkd_process_kill(status.pid, status.start_time + 1, &error), -ESRCH);
    assert_int_equal(forkd_process_kill(status.pid, 0, &error), -ESRCH);
    assert_int_equal(forkd_process_kill(0, 0, &error), -EINVAL);
    assert_int_equal(kill(status.pid, 0), 0);
    kill(status.pid, SIGSTOP);
    OK(forkd_process_kill(status.pid, status.start_time, &error));
    assert_gone(status.pid);
    assert_int_equal(forkd_process_kill(status.pid, status.start_time, &error), -ESRCH);
    forkd_server_free(server);
}

static struct forkd_server *start_detached(const struct fixture *fixture, const char *control)
{
    char memory[256];
    const char *folder = fixture->base;
    return start_chain(fixture, path_in(folder, "memory.bin", memory, sizeof memory), &folder, 1, control);
}

/* SIGSTOP, until all its threads stand. */
static void stop(int pid)
{
    char command[128];
    snprintf(command, sizeof command, "grep -h '^State:' /proc/%d/task/*/status | grep -qv stopped", pid);
    kill(pid, SIGSTOP);
    for (int i = 0; i < 1000 && system(command) == 0; i++)
        usleep(1000);
}

static void stopped_processes_hold_nobody_up(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    const char *control = FILE_IN(fixture->folder, "stopped");
    const char *server_control = FILE_IN(fixture->folder, "stopped-server");
    struct forkd_server *server = start_detached(fixture, server_control);
    struct forkd_vm_status status = leave_detached(server, control);
    int server_pid = forkd_server_pid(server);
    struct forkd_vm *held = NULL;
    OK(forkd_vm_attach(&held, control, &error));
    stop(status.pid);
    stop(server_pid);
    /* More often than connections wait to be taken. */
    for (int i = 0; i < 3; i++) {
        struct forkd_vm *vm = NULL;
        assert_int_equal(forkd_vm_attach(&vm, control, &error), -ETIMEDOUT);
        assert_non_null(strstr(error.text, control));
    }
    struct forkd_server *other = NULL;
    struct forkd_server_status server_status;
    assert_int_equal(forkd_server_attach(&other, server_control, &error), -ETIMEDOUT);
    assert_int_equal(forkd_server_get_status(server, &server_status, &error), -ETIMEDOUT);
    int fd = -1;
    assert_int_equal(forkd_vm_connect(held, 1, &fd, &error), -ETIMEDOUT);
    /* The answer to that comes late, and is not taken for the next one's. */
    kill(status.pid, SIGCONT);
    char directory[128];
    make_directory(fixture, "late", directory, sizeof directory);
    forkd_server_free(branch(held, directory, 0, NULL));
    stop(status.pid);
    forkd_vm_kill(held);
    forkd_vm_free(held);
    kill(server_pid, SIGCONT); /* which has to reap it */
    assert_gone(status.pid);
    forkd_server_free(server);
    assert_gone(server_pid);
}

static void stopped_server_is_ended_with_its_handle(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_server *server = start_flat(fixture, fixture->base);
    int pid = forkd_server_pid(server);
    stop(pid);
    forkd_server_free(server);
    assert_gone(pid);
}

/* A question as control.h has it: magic and type. */
static void ask_without_end(const char *control, uint32_t type)
{
    struct sockaddr_un address = socket_address(control);
    const uint32_t question[2] = {0x46524b02, type};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int sent = 0;
    while (send(fd, question, sizeof question, MSG_NOSIGNAL) > 0)
        assert_true(++sent < 1000000);
    assert_int_equal(errno, EPIPE);
    close(fd);
}

static void who_asks_and_never_reads_is_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    const char *control = FILE_IN(fixture->folder, "asked");
    const char *server_control = FILE_IN(fixture->folder, "asked-server");
    struct forkd_server *server = start_detached(fixture, server_control);
    struct forkd_vm_status status = leave_detached(server, control);
    ask_without_end(control, 6);
    ask_without_end(server_control, 11);
    struct forkd_vm *vm = NULL;
    struct forkd_server *other = NULL;
    OK(forkd_vm_attach(&vm, control, &error));
    OK(forkd_server_attach(&other, server_control, &error));
    forkd_vm_kill(vm);
    assert_gone(status.pid);
    forkd_vm_free(vm);
    forkd_server_free(other);
    forkd_server_free(server);
}

/* Nobody is left waiting, and the loop is not told of him for ever. */
/* Until somebody goes: those who came before are served all the time. */
static void without_descriptors_nobody_attaches_for_the_time(void **state)
{
    enum { DESCRIPTORS = 48 };
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    const char *control = FILE_IN(fixture->folder, "emfile");
    const char *server_control = FILE_IN(fixture->folder, "emfile-server");
    char poor[128];
    vmm = folder_file(&fixture->folder, "poor-vmm", poor, sizeof poor);
    write_poor_vmm(vmm, DESCRIPTORS);
    struct forkd_server *server = start_detached(fixture, server_control);
    vmm = FORKD_VMM;
    leave_detached(server, control);
    struct forkd_vm *vms[DESCRIPTORS];
    struct forkd_server *servers[DESCRIPTORS];
    int vm_count = 0;
    int server_count = 0;
    while (vm_count < DESCRIPTORS && forkd_vm_attach(&vms[vm_count], control, &error) == 0)
        vm_count++;
    assert_int_equal(error.code, -ECONNREFUSED);
    while (server_count < DESCRIPTORS &&
           forkd_server_attach(&servers[server_count], server_control, &error) == 0)
        server_count++;
    assert_int_equal(error.code, -ECONNREFUSED);
    assert_true(vm_count > 1 && vm_count < DESCRIPTORS && server_count > 1 && server_count < DESCRIPTORS);
    forkd_vm_free(vms[--vm_count]);
    forkd_server_free(servers[--server_count]);
    OK(forkd_vm_attach(&vms[vm_count], control, &error));
    OK(forkd_server_attach(&servers[server_count], server_control, &error));
    forkd_vm_kill(vms[0]);
    for (int i = 0; i <= vm_count; i++)
        forkd_vm_free(vms[i]);
    for (int i = 0; i <= server_count; i++)
        forkd_server_free(servers[i]);
    forkd_server_free(server);
}

static void detached_server_serves_all_and_ends_when_idle(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char control[128];
    char memory[256];
    const char *folder = fixture->base;
    folder_file(&fixture->folder, "server", control, sizeof control);
    path_in(folder, "memory.bin", memory, sizeof memory);
    struct forkd_server *server = start_chain(fixture, memory, &folder, 1, control);
    int pid = forkd_server_pid(server);
    struct forkd_server *refused = NULL;
    const struct forkd_disk disk = {.path = fixture->disk};
    struct forkd_server_options options = {.vmm_path = FORKD_VMM,
                                           .memory_path = memory,
                                           .vmstate_path = memory,
                                           .disks = &disk,
                                           .disk_count = 1,
                                           .control_path = control};
    assert_int_equal(forkd_server_start(&refused, &options, &error), -EADDRINUSE);
    assert_int_equal(access(control, F_OK), 0);
    forkd_server_free(server);
    OK(forkd_server_attach(&server, control, &error));
    assert_int_equal(forkd_server_pid(server), pid);
    struct forkd_server *second = NULL;
    OK(forkd_server_attach(&second, control, &error));
    struct forkd_vm *child = fork_child(second, NULL, NULL);
    struct forkd_server_status status;
    OK(forkd_server_get_status(server, &status, &error));
    assert_int_equal(status.child_count, 1);
    forkd_server_free(server);
    forkd_server_free(second);
    usleep(600000); /* twice what it may be idle: but it has a child */
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(kill(pid_of(child), 0), 0);
    forkd_vm_free(child);
    assert_gone(pid);
    assert_int_equal(access(control, F_OK), -1);
}

/* Whoever put it there. */
static void ended_server_leaves_what_took_the_place_of_its_socket(void **state)
{
    struct fixture *fixture = *state;
    char memory[256];
    const char *folder = fixture->base;
    const char *control = FILE_IN(fixture->folder, "replaced");
    path_in(folder, "memory.bin", memory, sizeof memory);
    struct forkd_server *server = start_chain(fixture, memory, &folder, 1, control);
    int pid = forkd_server_pid(server);
    assert_int_equal(unlink(control), 0);
    write_file(control, "mine");
    forkd_server_free(server);
    assert_gone(pid);
    assert_file_holds(control, "mine");
}

static void detached_branch_completes_by_itself(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char control[128];
    char directory[128];
    folder_file(&fixture->folder, "twin", control, sizeof control);
    make_directory(fixture, "no-wait", directory, sizeof directory);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, NULL, NULL);
    struct forkd_server *twin = branch(source, directory, 0, control);
    int pid = forkd_server_pid(twin);
    forkd_server_free(twin);
    forkd_vm_free(source);
    forkd_server_free(server);
    if (forkd_server_attach(&twin, control, &error) == 0) {
        assert_right(fixture, twin);
        OK(forkd_server_wait_written(twin, WAIT_MS, &error));
        forkd_server_free(twin);
    }
    assert_gone(pid);
    assert_true(exists_in(directory, "vmstate"));
    assert_int_equal(access(control, F_OK), -1);
    struct forkd_server *again = start_flat(fixture, directory);
    assert_right(fixture, again);
    forkd_server_free(again);
}

static void shared_disk_is_the_sources_alone(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    char directory[128];
    char image[128];
    make_directory(fixture, "with-shared", directory, sizeof directory);
    folder_file(&fixture->folder, "shared.img", image, sizeof image);
    int fd = open(image, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    close(fd);
    const struct forkd_disk disk = {.path = image, .mode = FORKD_DISK_SHARED};
    struct forkd_boot_options options = boot_options(GUEST("sequence"));
    options.disks = &disk;
    options.disk_count = 1;
    struct forkd_vm *vm = boot(&options);
    OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
    struct forkd_server *twin = branch(vm, directory, 0, NULL);
    struct forkd_child_options child_options = {.flags = FORKD_NO_AGENT};
    struct forkd_vm *child = NULL;
    struct forkd_vm_status status;
    OK(forkd_server_fork(twin, &child_options, &child, &error));
    OK(forkd_vm_wait(child, WAIT_MS, &status, &error));
    assert_int_equal(status.end, FORKD_END_ERROR);
    assert_int_equal(status.error.code, -EBUSY);
    forkd_vm_free(child);
    OK(forkd_server_wait_written(twin, WAIT_MS, &error));
    forkd_vm_free(vm);
    /* The twin lives, and does not hold the lock: the next VM may have the disk. */
    forkd_vm_free(boot(&options));
    forkd_server_free(twin);
}

/* The broker takes so many of what one VM has become that half of its descriptors are left to others. */
static void children_beyond_the_brokers_bound_leave_room_when_they_are_gone(void **state)
{
    struct fixture *fixture = *state;
    struct forkd_error error = {0};
    const struct rlimit few = {64, 64}; /* for good: not even root can raise the second everywhere */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct forkd_server *server = start_flat(fixture, fixture->base);
    struct forkd_vm *source = fork_child(server, NULL, NULL);
    char directory[128];
    make_directory(fixture, "bound", directory, sizeof directory);
    struct forkd_server *twin = branch(source, directory, 0, NULL);
    OK(forkd_server_wait_written(twin, WAIT_MS, &error));
    struct forkd_vm *children[20];
    for (int round = 0; round < 2; round++) {
        /* Too many, and then no more than there is room for. */
        const int count = round == 0 ? 20 : 8;
        struct forkd_vm_status status;
        for (int i = 0; i < count; i++) {
            char name[32];
            snprintf(name, sizeof name, "%d-%d.vsock", round, i);
            const struct forkd_child_options options = {.flags = FORKD_NO_AGENT,
                                                        .vsock_path = FILE_IN(fixture->folder, name)};
            OK(forkd_server_fork(twin, &options, &children[i], &error));
            OK(forkd_vm_wait(children[i], WAIT_MS, &status, &error));
            if (status.phase != FORKD_VM_READY)
                assert_int_equal(status.error.code, -EPIPE);
            if (round == 1)
                assert_int_equal(status.phase, FORKD_VM_READY);
        }
        assert_int_equal(status.phase, round == 0 ? FORKD_VM_ENDED : FORKD_VM_READY);
        for (int i = 0; i < count; i++)
            forkd_vm_free(children[i]);
        while (first_child(forkd_server_pid(twin)) != 0)
            usleep(1000);
    }
    forkd_server_free(twin);
    forkd_vm_free(source);
    forkd_server_free(server);
    remove_directory(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_branch_is_of_one_instant),
        cmocka_unit_test(branch_that_is_not_written_gives_children),
        cmocka_unit_test(branches_at_the_same_time_are_each_right),
        cmocka_unit_test(chain_of_layers_restores_what_it_was_made_of),
        cmocka_unit_test(branch_of_a_branch_that_is_not_on_disk_yet),
        cmocka_unit_test(booted_vm_can_be_branched_but_not_as_a_layer),
        cmocka_unit_test(both_ways_write_the_same),
        cmocka_unit_test(unknown_way_is_refused),
        cmocka_unit_test(owners_branch_it_at_the_same_time),
        cmocka_unit_test(one_that_was_written_down_never_runs_again),
        cmocka_unit_test(the_source_is_afterwards_as_it_was),
        cmocka_unit_test(killed_source_leaves_a_whole_branch_or_none),
        cmocka_unit_test(killed_twin_writer_or_child_leaves_a_whole_branch_or_none),
        cmocka_unit_test(two_branches_into_one_folder_exclude_each_other),
        cmocka_unit_test(branch_leaves_files_that_are_in_its_way),
        cmocka_unit_test(full_disk_fails_the_branch_and_not_the_source),
        cmocka_unit_test(detached_child_outlives_handle_and_server),
        cmocka_unit_test(process_of_a_detached_child_is_killed_by_number_and_start),
        cmocka_unit_test(stopped_processes_hold_nobody_up),
        cmocka_unit_test(stopped_server_is_ended_with_its_handle),
        cmocka_unit_test(who_asks_and_never_reads_is_dropped),
        cmocka_unit_test(without_descriptors_nobody_attaches_for_the_time),
        cmocka_unit_test(detached_server_serves_all_and_ends_when_idle),
        cmocka_unit_test(ended_server_leaves_what_took_the_place_of_its_socket),
        cmocka_unit_test(detached_branch_completes_by_itself),
        cmocka_unit_test(shared_disk_is_the_sources_alone),
        cmocka_unit_test(children_beyond_the_brokers_bound_leave_room_when_they_are_gone), /* the last */
    };
    const struct CMUnitTest copying[] = {
        cmocka_unit_test(every_branch_is_of_one_instant),
        cmocka_unit_test(branches_at_the_same_time_are_each_right),
        cmocka_unit_test(chain_of_layers_restores_what_it_was_made_of),
        cmocka_unit_test(branch_of_a_branch_that_is_not_on_disk_yet),
        cmocka_unit_test(booted_vm_can_be_branched_but_not_as_a_layer),
        cmocka_unit_test(the_source_is_afterwards_as_it_was),
        cmocka_unit_test(killed_source_leaves_a_whole_branch_or_none),
        cmocka_unit_test(killed_twin_writer_or_child_leaves_a_whole_branch_or_none),
        cmocka_unit_test(full_disk_fails_the_branch_and_not_the_source),
        cmocka_unit_test(detached_branch_completes_by_itself),
        cmocka_unit_test(shared_disk_is_the_sources_alone),
    };
    way = FORKD_BRANCH_PRECOPY;
    int failed = cmocka_run_group_tests(copying, make_snapshot, remove_snapshot);
    way = FORKD_BRANCH_CHOOSE;
    return failed + cmocka_run_group_tests(tests, make_snapshot, remove_snapshot);
}
