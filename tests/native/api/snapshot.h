/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of fork servers share: a snapshot of the guest that fills its memory, and children of it. */
#ifndef FORKD_TESTS_API_SNAPSHOT_H
#define FORKD_TESTS_API_SNAPSHOT_H

#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>

struct fixture {
    struct folder folder;
    char memory[128];
    char vmstate[128];
    char disk[128];
    char vmm[128];   /* for the stranger: see stranger.h */
    char guest[128]; /* the same */
    struct forkd_disk disks[1];
    struct forkd_server_options options;
};

/* One snapshot for all tests, with one disk. */
static inline int make_snapshot_with(void **state, const char *guest, const char *command_line,
                                     off_t disk_size)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->folder = folder_make();
    folder_file(&fixture->folder, "memory.bin", fixture->memory, sizeof fixture->memory);
    folder_file(&fixture->folder, "vmstate", fixture->vmstate, sizeof fixture->vmstate);
    folder_file(&fixture->folder, "disk.img", fixture->disk, sizeof fixture->disk);
    int fd = open(fixture->disk, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, disk_size), 0);
    close(fd);
    fixture->disks[0] = (struct forkd_disk){.path = fixture->disk};
    struct forkd_boot_options options = boot_options(guest);
    options.disks = fixture->disks;
    options.disk_count = 1;
    options.command_line = command_line;
    struct forkd_vm *vm = boot(&options);
    struct forkd_error error = {0};
    OK(forkd_vm_wait(vm, 20000, NULL, &error));
    OK(forkd_vm_snapshot(vm, fixture->folder.path, &error));
    forkd_vm_free(vm);
    fixture->options = (struct forkd_server_options){.vmm_path = FORKD_VMM,
                                                     .memory_path = fixture->memory,
                                                     .vmstate_path = fixture->vmstate,
                                                     .disks = fixture->disks,
                                                     .disk_count = 1};
    *state = fixture;
    return 0;
}

static inline int make_snapshot_on(void **state, const char *guest, off_t disk_size)
{
    return make_snapshot_with(state, guest, NULL, disk_size);
}

static inline int make_snapshot_of(void **state, const char *guest)
{
    return make_snapshot_on(state, guest, 1 << 20);
}

/* Of the guest that fills its memory, and does not touch the disk. */
static inline int make_snapshot(void **state)
{
    return make_snapshot_of(state, GUEST("ready"));
}

static inline struct forkd_server *start_with_working_set(const struct fixture *fixture, const char *path,
                                                          uint32_t flags)
{
    struct forkd_server_options options = fixture->options;
    options.working_set_path = path;
    options.flags = flags;
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    OK(forkd_server_start(&server, &options, &error));
    return server;
}

static inline int remove_snapshot(void **state)
{
    struct fixture *fixture = *state;
    folder_remove(&fixture->folder);
    free(fixture);
    return 0;
}

static inline struct forkd_server *start(const struct fixture *fixture)
{
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    OK(forkd_server_start(&server, &fixture->options, &error));
    return server;
}

static inline struct forkd_vm *fork_ready(struct forkd_server *server, const char *vsock_path,
                                          struct forkd_vm_status *status)
{
    struct forkd_error error = {0};
    struct forkd_vm *child = NULL;
    struct forkd_child_options options = {.flags = FORKD_NO_AGENT, .vsock_path = vsock_path};
    OK(forkd_server_fork(server, &options, &child, &error));
    OK(forkd_vm_wait(child, 20000, status, &error));
    if (status->phase != FORKD_VM_READY)
        fail_msg("the child ended: %s", status->error.text);
    return child;
}

#define ANSWER_PORT 52u /* any: guests/answer.c answers at all of them */

/* Ask a child of the guest that answers. */
static inline void ask_child_for(struct forkd_vm *child, const char *question)
{
    struct forkd_error error = {0};
    int fd = -1;
    char answer = 0;
    OK(forkd_vm_connect(child, ANSWER_PORT, &fd, &error));
    assert_int_equal(write(fd, question, 1), 1);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 20000), 1);
    assert_int_equal(read(fd, &answer, 1), 1);
    assert_int_equal(answer, '!');
    close(fd);
}

static inline void ask_child(struct forkd_vm *child)
{
    ask_child_for(child, "?");
}

static inline void assert_gone(int pid)
{
    for (int i = 0; i < 200 && kill(pid, 0) == 0; i++)
        usleep(10000);
    assert_int_equal(kill(pid, 0), -1);
}

/* How many names a folder has, . and .. included. */
__attribute__((format(printf, 1, 2))) static inline int count_entries(const char *format, ...)
{
    char path[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    int count = 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static inline int count_children(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    int count = 0;
    int child = 0;
    while (fscanf(file, "%d", &child) == 1)
        count++;
    fclose(file);
    return count;
}

static inline void wait_for_children(int pid, int expected)
{
    for (int i = 0; i < 500 && count_children(pid) != expected; i++)
        usleep(10000);
    assert_int_equal(count_children(pid), expected);
}

#endif
