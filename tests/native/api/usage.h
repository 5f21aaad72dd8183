/* SPDX-License-Identifier: Apache-2.0 */
/* What a process takes of the host. */
#ifndef FORKD_TESTS_API_USAGE_H
#define FORKD_TESTS_API_USAGE_H

#include "harness.h"

#include <dirent.h>
#include <sys/stat.h>

/* Bytes of the host that files without a name take which the process has open. */
static inline uint64_t nameless_space(int pid)
{
    uint64_t space = 0;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char name[400];
        struct stat info;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (stat(name, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 0)
            space += (uint64_t)info.st_blocks * 512;
    }
    closedir(directory);
    return space;
}

/* Of the process's own memory, in bytes. */
static inline uint64_t own_memory(int pid)
{
    char path[64];
    char line[256];
    unsigned long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "RssAnon: %lu", &kib) != 1)
        ;
    fclose(file);
    assert_true(kib > 0);
    return (uint64_t)kib << 10;
}

/* The guest's that is the process's own, in bytes; with sanitizers a process has memory beside that. */
static inline uint64_t own_guest_memory(int pid)
{
    char path[64];
    char line[512];
    uint64_t kib = 0;
    bool within = false;
    snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long some;
        if (sscanf(line, "%*x-%*x %*4s %*x %*x:%*x %lu", &some) == 1)
            within = strstr(line, "/memory.bin") != NULL;
        else if (within && sscanf(line, "Anonymous: %lu", &some) == 1)
            kib += some;
    }
    fclose(file);
    assert_true(kib > 0);
    return kib << 10;
}

#endif
