/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* proc_stat(5): the first line is the sum of the lines of all processors. Waiting is none of their time. */
static int read_processors(uint64_t *count, uint64_t *used_us)
{
    char line[512];
    unsigned long long user = 0;
    unsigned long long nice = 0;
    unsigned long long system = 0;
    unsigned long long interrupts[2] = {0};
    FILE *file = fopen("/proc/stat", "re");
    if (!file)
        return -errno;
    while (fgets(line, sizeof line, file) && strncmp(line, "cpu", 3) == 0) {
        if (line[3] != ' ')
            ++*count;
        else
            sscanf(line, "cpu %llu %llu %llu %*u %*u %llu %llu", &user, &nice, &system, &interrupts[0],
                   &interrupts[1]);
    }
    fclose(file);
    uint64_t ticks = user + nice + system + interrupts[0] + interrupts[1];
    *used_us = ticks * (1000000u / (uint64_t)sysconf(_SC_CLK_TCK));
    return 0;
}

struct memory {
    uint64_t total;
    uint64_t available;
    uint64_t cached;
    uint64_t buffers;
};

static int read_memory(struct memory *out)
{
    char line[128];
    unsigned long long kib;
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file)
        return -errno;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemTotal: %llu", &kib) == 1)
            out->total = kib << 10;
        else if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
            out->available = kib << 10;
        else if (sscanf(line, "Cached: %llu", &kib) == 1)
            out->cached = kib << 10;
        else if (sscanf(line, "Buffers: %llu", &kib) == 1)
            out->buffers = kib << 10;
    }
    fclose(file);
    return 0;
}

static uint64_t count_processes(void)
{
    uint64_t count = 0;
    DIR *proc = opendir("/proc");
    if (!proc)
        return 0;
    for (struct dirent *found = readdir(proc); found; found = readdir(proc))
        count += found->d_name[0] >= '1' && found->d_name[0] <= '9';
    closedir(proc);
    return count;
}

static int64_t uptime_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int metrics_write(struct writer *writer, struct forkd_error *err)
{
    uint64_t cpus = 0;
    uint64_t cpu_us = 0;
    struct memory memory = {0};
    struct statvfs disk;
    int status = read_processors(&cpus, &cpu_us);
    if (status == 0)
        status = read_memory(&memory);
    if (status < 0)
        return error_set(err, status, "read", "/proc", NULL);
    if (statvfs("/", &disk) < 0)
        return error_set(err, errno, "look at", "/", NULL);
    writer_format(writer, "{\"cpus\":%llu,\"cpu_us\":%llu,", (unsigned long long)cpus,
                  (unsigned long long)cpu_us);
    writer_format(writer, "\"memory_bytes\":%llu,\"memory_used_bytes\":%llu,\"memory_cache_bytes\":%llu,",
                  (unsigned long long)memory.total, (unsigned long long)(memory.total - memory.available),
                  (unsigned long long)(memory.cached + memory.buffers));
    writer_format(writer, "\"disk_bytes\":%llu,\"disk_used_bytes\":%llu,",
                  (unsigned long long)disk.f_blocks * disk.f_frsize,
                  (unsigned long long)(disk.f_blocks - disk.f_bfree) * disk.f_frsize);
    writer_format(writer, "\"processes\":%llu,\"uptime_ms\":%lld}\n", (unsigned long long)count_processes(),
                  (long long)uptime_ms());
    return 0;
}
