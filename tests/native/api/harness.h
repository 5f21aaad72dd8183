/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of libforkd share: paths of the programs under test, and a temporary folder. */
#ifndef FORKD_TESTS_API_HARNESS_H
#define FORKD_TESTS_API_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <forkd/forkd.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* FORKD_VMM and FORKD_GUESTS come from CMake. */
#define GUEST(name) FORKD_GUESTS "/" name ".elf"
#define MEMORY (64ull << 20)

struct folder {
    char path[64];
};

static inline struct folder folder_make(void)
{
    struct folder folder;
    snprintf(folder.path, sizeof folder.path, "/tmp/forkd-test-XXXXXX");
    assert_non_null(mkdtemp(folder.path));
    return folder;
}

static inline char *folder_file(const struct folder *folder, const char *name, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s/%s", folder->path, name);
    return buffer;
}
#define FILE_IN(folder, name) folder_file(&(folder), name, (char[128]){0}, 128)

static inline void folder_remove(const struct folder *folder)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder->path);
    assert_int_equal(system(command), 0);
}

/* A socket of a VM that was killed is there until its broker has seen that, which may still have a copy of
 * the listener itself, that it sent: then whoever frees the VM finds it taking connections, and leaves it. */
static inline void assert_vanishes(const char *path)
{
    for (int waited = 0; waited < 1000 && access(path, F_OK) == 0; waited++)
        usleep(10000);
    assert_int_equal(access(path, F_OK), -1);
}

static inline void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static inline void assert_file_holds(const char *path, const char *text)
{
    char held[64] = {0};
    FILE *file = fopen(path, "re");
    if (file == NULL)
        fail_msg("%s is gone", path);
    size_t length = fread(held, 1, sizeof held - 1, file);
    fclose(file);
    assert_int_equal(length, strlen(text));
    assert_string_equal(held, text);
}

static inline struct sockaddr_un socket_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    assert_true(length < sizeof address.sun_path);
    memcpy(address.sun_path, path, length);
    return address;
}

/* A socket at `path`, of this program's own; it takes connections only when `listening`. */
static inline int bind_at(const char *path, bool listening)
{
    struct sockaddr_un address = socket_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (listening)
        assert_int_equal(listen(fd, 1), 0);
    return fd;
}

/* 0, or why nobody takes connections there. */
static inline int try_connect(const char *path)
{
    struct sockaddr_un address = socket_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

/* 0, or the error's text on stderr and the test failed. */
#define OK(call)                                                                                             \
    do {                                                                                                     \
        int ok_result = (call);                                                                              \
        if (ok_result < 0)                                                                                   \
            fail_msg("%s: %s", #call, error.text);                                                           \
    } while (0)

/* A forkd-vmm that may have so many descriptors and no more: once it runs it is another user's. */
static inline void write_poor_vmm(const char *path, int descriptors)
{
    char text[512];
    snprintf(text, sizeof text, "#!/bin/sh\nulimit -n %d\nexec '%s'\n", descriptors, FORKD_VMM);
    write_file(path, text);
    assert_int_equal(chmod(path, 0700), 0);
}

static inline struct forkd_vm *boot(const struct forkd_boot_options *options)
{
    struct forkd_error error = {0};
    struct forkd_vm *vm = NULL;
    OK(forkd_vm_boot(&vm, options, &error));
    return vm;
}

static inline struct forkd_boot_options boot_options(const char *guest)
{
    return (struct forkd_boot_options){.vmm_path = FORKD_VMM,
                                       .kernel_path = guest,
                                       .memory_bytes = MEMORY,
                                       .vcpu_count = 1,
                                       .flags = FORKD_NO_AGENT};
}

#endif
