/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forkd-mkfs FILE: makes FILE, an ext4 file system, of the description on standard input. Needs no
 * privileges: nothing is mounted. docs/images.md tells what comes in and what is answered.
 */
#include "mkfs/build.h"
#include "mkfs/confine.h"
#include "mkfs/fail.h"
#include "mkfs/stream.h"
#include "proc/filter.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)

_Noreturn static void answer(const char *kind, const char *format, va_list arguments)
{
    printf("%s ", kind);
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    answer("error", format, arguments);
}

void fail_inode(uint32_t index, const char *format, ...)
{
    char kind[32];
    snprintf(kind, sizeof kind, "inode %u", index);
    va_list arguments;
    va_start(arguments, format);
    answer(kind, format, arguments);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: forkd-mkfs FILE < DESCRIPTION\n"
                        "       forkd-mkfs --syscalls\n");
        return 2;
    }
    if (strcmp(argv[1], "--syscalls") == 0) {
        filter_print(stdout, filter_roles);
        return 0;
    }
    fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIPE_BYTES);
    confine_to_output(argv[1]);
    stream_open(STDIN_FILENO);
    struct build_result made;
    build(argv[1], &made);
    if (made.complete)
        printf("ok %llu\n", (unsigned long long)made.used);
    else
        printf("full %llu\n", (unsigned long long)made.needed);
    return made.complete ? 0 : 1;
}
