/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever forkd-mkfs is told to make, it ends with a file system or with an error. The first byte chooses a
 * size; the rest is what follows the head of a description.
 */
#include "mkfs/build.h"
#include "mkfs/fail.h"
#include "mkfs/stream.h"

#include <fcntl.h>
#include <sanitizer/allocator_interface.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIVE_MAX (1u << 16)

static jmp_buf failed;
static char path[64];

/* The program leaves it to its end to give memory back; here it has none. So what an input leaves is noted.
 * Not what libFuzzer's other thread takes meanwhile. */
static _Thread_local bool noting;
static const volatile void *live[LIVE_MAX];
static size_t live_count;

static void note_allocated(const volatile void *memory, size_t size)
{
    (void)size;
    if (noting && memory && live_count < LIVE_MAX)
        live[live_count++] = memory;
}

static void note_freed(const volatile void *memory)
{
    for (size_t i = live_count; noting && i > 0; i--) {
        if (live[i - 1] == memory) {
            live[i - 1] = live[--live_count];
            return;
        }
    }
}

void fail(const char *format, ...)
{
    (void)format;
    longjmp(failed, 1);
}

void fail_inode(uint32_t index, const char *format, ...)
{
    (void)index;
    (void)format;
    longjmp(failed, 1);
}

static void must(int status)
{
    if (status < 0) {
        perror("mkfs_fuzz");
        abort();
    }
}

static int open_description(const uint8_t *data, size_t size)
{
    static const uint8_t head[] = "FORKDFS1";
    uint8_t rest[64] = {0};
    uint64_t bytes = (uint64_t)(1 + (size > 0 ? data[0] % 16 : 0)) << 20;
    memcpy(rest, &bytes, sizeof bytes);
    rest[9] = 0x20; /* 8192 bytes per inode */
    int fd = memfd_create("description", MFD_CLOEXEC);
    must(fd);
    if (write(fd, head, 8) != 8 || write(fd, rest, sizeof rest) != sizeof rest ||
        (size > 1 && write(fd, data + 1, size - 1) != (ssize_t)size - 1))
        abort();
    must((int)lseek(fd, 0, SEEK_SET));
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*path) {
        snprintf(path, sizeof path, "/dev/shm/mkfs-fuzz-%d", (int)getpid());
        if (!__sanitizer_install_malloc_and_free_hooks(note_allocated, note_freed))
            abort();
    }
    int fd = open_description(data, size);
    stream_open(fd);
    noting = true;
    if (!setjmp(failed)) {
        struct build_result made = {0};
        build(path, &made);
        if (made.complete && made.used == 0)
            abort();
    }
    noting = false;
    while (live_count > 0)
        free((void *)live[--live_count]);
    close_range((unsigned)fd, ~0u, 0);
    unlink(path);
    return 0;
}
