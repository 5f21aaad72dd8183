/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests share whose guest counts in memory, registers and on its disk, and stops with an E as soon as
 * these do not fit together (guests/sequence.c): a snapshot of it, children, branches.
 */
#ifndef FORKD_TESTS_API_SEQUENCE_H
#define FORKD_TESTS_API_SEQUENCE_H

#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>

#define WAIT_MS 60000

struct fixture {
    struct folder folder;
    char disk[128];
    char base[128]; /* folder of the snapshot that all begin with */
};

/* --- files ------------------------------------------------------------------------------------------------
 */

static inline char *path_in(const char *directory, const char *name, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s/%s", directory, name);
    return buffer;
}

static inline bool exists_in(const char *directory, const char *name)
{
    char path[256];
    return access(path_in(directory, name, path, sizeof path), F_OK) == 0;
}

static inline void make_directory(const struct fixture *fixture, const char *name, char *buffer, size_t size)
{
    path_in(fixture->folder.path, name, buffer, size);
    assert_int_equal(mkdir(buffer, 0700), 0);
}

static inline void remove_directory(const char *path)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

static inline int count_files(const char *path)
{
    DIR *directory = opendir(path);
    assert_non_null(directory);
    int count = -2; /* . and .. */
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* --- VMs --------------------------------------------------------------------------------------------------
 */

/* How many dots a console has, or -1 when it has an E. */
static inline int dots(const char *console)
{
    int fd = open(console, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    int count = 0;
    char buffer[4096];
    ssize_t got;
    while (count >= 0 && (got = read(fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t i = 0; i < got && count >= 0; i++)
            count = buffer[i] == 'E' ? -1 : count + (buffer[i] == '.');
    }
    close(fd);
    return count;
}

static inline void wait_for_dots(const char *console, int wanted)
{
    for (int i = 0; i < WAIT_MS / 2; i++) {
        int count = dots(console);
        if (count < 0)
            fail_msg("%s: what the guest finds is not of one instant", console);
        if (count >= wanted)
            return;
        usleep(2000);
    }
    fail_msg("%s: the guest does not go on", console);
}

static inline int make_snapshot(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    /* In memory: over 200 times what is fsynced here would wait for whatever else this machine writes. */
    snprintf(fixture->folder.path, sizeof fixture->folder.path, "/dev/shm/forkd-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder.path));
    folder_file(&fixture->folder, "disk.img", fixture->disk, sizeof fixture->disk);
    make_directory(fixture, "base", fixture->base, sizeof fixture->base);
    int fd = open(fixture->disk, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    close(fd);
    char console[128];
    folder_file(&fixture->folder, "boot.console", console, sizeof console);
    const struct forkd_disk disk = {.path = fixture->disk};
    struct forkd_boot_options options = boot_options(GUEST("sequence"));
    options.disks = &disk;
    options.disk_count = 1;
    options.console_path = console;
    options.vcpu_count = 2;
    struct forkd_vm *vm = boot(&options);
    struct forkd_error error = {0};
    OK(forkd_vm_wait(vm, WAIT_MS, NULL, &error));
    wait_for_dots(console, 2);
    OK(forkd_vm_snapshot(vm, fixture->base, &error));
    forkd_vm_free(vm);
    *state = fixture;
    return 0;
}

static inline int remove_snapshot(void **state)
{
    struct fixture *fixture = *state;
    folder_remove(&fixture->folder);
    free(fixture);
    return 0;
}

static const char *vmm = FORKD_VMM;

/* The server of a chain: the folders of its snapshots, the base first; `memory` is the whole, put together.
 */
static inline struct forkd_server *start_chain(const struct fixture *fixture, const char *memory,
                                               const char *const *folders, int count,
                                               const char *control_path)
{
    struct forkd_error error = {0};
    char vmstate[256];
    char paths[4][256];
    const char *layers[4];
    uint32_t layer_count = 0;
    for (int i = 0; i < count; i++) {
        path_in(folders[i], "disk-0.layer", paths[i], sizeof paths[i]);
        if (access(paths[i], F_OK) == 0)
            layers[layer_count++] = paths[i];
    }
    const struct forkd_disk disk = {.path = fixture->disk, .layer_paths = layers, .layer_count = layer_count};
    struct forkd_server_options options = {
        .vmm_path = vmm,
        .memory_path = memory,
        .vmstate_path = path_in(folders[count - 1], "vmstate", vmstate, sizeof vmstate),
        .disks = &disk,
        .disk_count = 1,
        .control_path = control_path,
        .idle_timeout_ms = 300};
    struct forkd_server *server = NULL;
    OK(forkd_server_start(&server, &options, &error));
    return server;
}

static inline struct forkd_server *start_flat(const struct fixture *fixture, const char *folder)
{
    char memory[256];
    return start_chain(fixture, path_in(folder, "memory.bin", memory, sizeof memory), &folder, 1, NULL);
}

static inline struct forkd_vm *fork_child(struct forkd_server *server, const char *console,
                                          const char *control_path)
{
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    struct forkd_vm_status status;
    struct forkd_child_options options = {
        .flags = FORKD_NO_AGENT, .console_path = console, .control_path = control_path};
    OK(forkd_server_fork(server, &options, &child, &error));
    OK(forkd_vm_wait(child, WAIT_MS, &status, &error));
    if (status.phase != FORKD_VM_READY)
        fail_msg("the child ended: %s", status.error.text);
    return child;
}

static inline int pid_of(struct forkd_vm *vm)
{
    struct forkd_error error = {0};
    struct forkd_vm_status status;
    OK(forkd_vm_wait(vm, 0, &status, &error));
    return status.pid;
}

/* A child of the server finds everything as it has to be. */
static inline void assert_right(const struct fixture *fixture, struct forkd_server *server)
{
    char console[128];
    folder_file(&fixture->folder, "child.console", console, sizeof console);
    unlink(console);
    struct forkd_vm *child = fork_child(server, console, NULL);
    wait_for_dots(console, 2);
    forkd_vm_free(child);
}

static uint32_t way; /* enum forkd_branch_way, of all branches */

static inline struct forkd_server *branch(struct forkd_vm *vm, const char *directory, uint32_t flags,
                                          const char *control_path)
{
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    struct forkd_branch_result result;
    struct forkd_branch_options options = {
        .directory = directory, .flags = flags, .way = way, .control_path = control_path};
    OK(forkd_vm_branch(vm, &options, &server, &result, &error));
    assert_true(result.pid > 0 && result.fork_us <= result.pause_us);
    assert_int_equal(result.way, way == FORKD_BRANCH_CHOOSE ? FORKD_BRANCH_FORK : way);
    return server;
}

static inline void assert_gone(int pid)
{
    for (int i = 0; i < 1000 && kill(pid, 0) == 0; i++)
        usleep(10000);
    assert_int_equal(kill(pid, 0), -1);
}

#endif
