/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory is left to a process. Looked up here, since a VM's own may open no file. */
#include "api/handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATH_SIZE 4096
#define LINE_SIZE 4200

/* What a process counts against, in each version of cgroups. */
struct hierarchy {
    const char *controllers; /* in /proc/PID/cgroup */
    const char *root;
    const char *limit;
    const char *used;
};

static const struct hierarchy hierarchies[] = {
    {"", "/sys/fs/cgroup", "memory.max", "memory.current"},
    {"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"},
};

/* False: there is no such file, or no number in it, as where there is no limit. */
static bool read_number(const char *root, const char *group, const char *name, uint64_t *out)
{
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s%s/%s", root, group, name);
    FILE *file = length > 0 && length < (int)sizeof path ? fopen(path, "re") : NULL;
    if (file == NULL)
        return false;
    bool found = fscanf(file, "%" SCNu64, out) == 1;
    fclose(file);
    return found;
}

/* Of a cgroup and all above it; `group` is used up. */
static uint64_t room_in(const struct hierarchy *hierarchy, char *group)
{
    uint64_t room = UINT64_MAX;
    for (;;) {
        uint64_t limit = 0;
        uint64_t used = 0;
        if (read_number(hierarchy->root, group, hierarchy->limit, &limit) &&
            read_number(hierarchy->root, group, hierarchy->used, &used)) {
            uint64_t left = limit > used ? limit - used : 0;
            room = left < room ? left : room;
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return room;
        *slash = '\0';
    }
}

static uint64_t room_in_cgroups(pid_t process)
{
    char line[LINE_SIZE];
    uint64_t room = UINT64_MAX;
    snprintf(line, sizeof line, "/proc/%d/cgroup", process);
    FILE *file = fopen(line, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        /* number:controllers:path */
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        for (size_t i = 0; i < sizeof hierarchies / sizeof hierarchies[0]; i++) {
            if (strcmp(controllers + 1, hierarchies[i].controllers) != 0)
                continue;
            uint64_t left = room_in(&hierarchies[i], group);
            room = left < room ? left : room;
        }
    }
    if (file != NULL)
        fclose(file);
    return room;
}

static uint64_t room_on_host(void)
{
    char line[LINE_SIZE];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL &&
           sscanf(line, "MemAvailable: %" SCNu64, &kib) != 1) {
    }
    if (file != NULL)
        fclose(file);
    return kib << 10;
}

uint64_t memory_room(pid_t process)
{
    uint64_t host = room_on_host();
    uint64_t cgroups = room_in_cgroups(process);
    return (cgroups < host ? cgroups : host) / 2;
}
