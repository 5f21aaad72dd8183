/* SPDX-License-Identifier: Apache-2.0 */
/*
 * branch-pause: how long a child stands still while it is branched, by how much of its memory it has read and
 * written to, and how what it wrote to lies; beside it, in turn, fork(2) alone of such a mapping. Then what a
 * busy source pays in the second after a branch.
 *
 *   branch VMM GUEST BRANCHES
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMORY (1536ull << 20)
/* Those that have been up for long: all of their memory was read, and little written. In a tmpfs, where the
 * cache has a page of 4 KiB for each, as older kernels have it for disks, too. 3 GiB is as much as a guest
 * without paging reaches. */
static const struct {
    int read; /* MiB; it has 32 more */
    int written;
} old[] = {{64, 16}, {256, 64}, {1024, 64}, {3040, 64}};
#define OLD_COUNT (int)(sizeof old / sizeof old[0])
#define REST_MIB 32
#define FIRST (16ull << 20) /* where the guest begins to write, too */
#define PAGE 4096u
#define STEP 40487u /* the order in which it does, as in dirty.c */
#define SETTLE_US 20000

static const int sizes[] = {0, 64, 1024}; /* MiB that have diverged */
#define SIZE_COUNT (int)(sizeof sizes / sizeof sizes[0])
#define FIGURE_MIB 256 /* the ratio is of this size, and of so many sources, each with a floor of its own */
#define FIGURE_SOURCES 3

struct source {
    struct measure_snapshot snapshot;
    struct forkd_server *server;
    struct forkd_vm *vm;
    char console[96];
    char branch[96]; /* folder that branches are written to */
};

/* What a guest does before it is branched. */
struct life {
    int read;    /* MiB; 0: nothing in particular, of 1.5 GiB */
    int written; /* MiB */
    bool spread; /* over all that it has read */
    bool busy;   /* it goes on writing */
};

/* How far the pages that it writes to lie apart. */
static uint32_t distance(const struct life *life)
{
    return life->spread ? (uint32_t)(life->read / life->written) : 1;
}

static void check(int result, const struct forkd_error *error)
{
    if (result < 0)
        errx(1, "%s", error->text);
}

/* A child that has read and written to so much of its memory. */
static void source_make(struct source *source, const char *vmm, const char *guest, const struct life *life)
{
    struct forkd_error error;
    char command_line[24];
    if (life->read > 0)
        snprintf(command_line, sizeof command_line, "%d%c%d", life->written, life->spread ? 's' : 'p',
                 life->read);
    else
        snprintf(command_line, sizeof command_line, "%d%s", life->written, life->busy ? "b" : "");
    struct forkd_boot_options options = {
        .vmm_path = vmm,
        .kernel_path = guest,
        .command_line = command_line,
        .memory_bytes = life->read > 0 ? (uint64_t)(life->read + REST_MIB) << 20 : MEMORY,
        .vcpu_count = 1,
        .flags = FORKD_NO_AGENT};
    measure_snapshot_write(&source->snapshot, life->read > 0 ? "/dev/shm" : MEASURE_DISK, &options);
    snprintf(source->console, sizeof source->console, "%s/console", source->snapshot.directory);
    snprintf(source->branch, sizeof source->branch, "%s/branch", source->snapshot.directory);
    if (mkdir(source->branch, 0700) < 0)
        err(1, "%s", source->branch);
    source->server = measure_server_start(&source->snapshot, vmm, 0);
    struct forkd_child_options child = {.flags = FORKD_NO_AGENT, .console_path = source->console};
    struct forkd_vm_status status;
    check(forkd_server_fork(source->server, &child, &source->vm, &error), &error);
    check(forkd_vm_wait(source->vm, 120000, &status, &error), &error);
    if (status.phase != FORKD_VM_READY)
        errx(1, "the child ended: %s", status.error.text);
}

static void source_remove(struct source *source)
{
    forkd_vm_free(source->vm);
    forkd_server_free(source->server);
    unlink(source->console);
    rmdir(source->branch);
    measure_snapshot_remove(&source->snapshot);
}

static void remove_branch(const struct source *source)
{
    static const char *const names[] = {"memory.bin", "vmstate"};
    for (int i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", source->branch, names[i]);
        unlink(path);
    }
}

/* The branch is ended, as a rule, before it is written: its pause is what is measured, not the disk. */
static double branch_ms(struct source *source, double *call_ms, uint32_t *way)
{
    struct forkd_error error;
    struct forkd_branch_options options = {.directory = source->branch};
    struct forkd_branch_result result;
    struct forkd_server *twin = NULL;
    usleep(SETTLE_US);
    double start = measure_now_ms();
    check(forkd_vm_branch(source->vm, &options, &twin, &result, &error), &error);
    *call_ms = measure_now_ms() - start;
    *way = result.way;
    forkd_server_free(twin);
    remove_branch(source);
    return (double)result.pause_us / 1000;
}

/* --- the floor --------------------------------------------------------------------------------------------
 */

struct bare {
    pid_t pid;
    int channel; /* a byte asks for one more fork(2), a double answers with its milliseconds */
};

/*
 * What fork(2) costs depends on where the pages lie: for each it writes to 64 bytes of the kernel's, which is
 * 5 ms for 256 MiB that lie in a row, and 8 for those that lie anywhere. Had both written to their pages in
 * order, it would be the allocator's luck who has which, and the ratio anything from 0.9 to 1.8. So neither
 * does, and for both neighbours lie apart, as they do in a guest that has been up for long.
 */
static _Noreturn void bare_process(int channel, const char *memory, const struct life *life)
{
    int fd = open(memory, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0)
        err(1, "%s", memory);
    uint8_t *map =
        mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (map == MAP_FAILED)
        err(1, "%s", memory);
    for (uint64_t page = 0; page < (uint64_t)life->read * ((1u << 20) / PAGE); page++)
        (void)*(volatile uint32_t *)(map + FIRST + page * PAGE);
    uint32_t pages = (uint32_t)life->written * ((1u << 20) / PAGE);
    for (uint32_t i = 0, page = 0; i < pages; i++, page = (page + STEP) % pages)
        *(volatile uint32_t *)(map + FIRST + (uint64_t)page * distance(life) * PAGE) = 1;
    char byte;
    while (read(channel, &byte, 1) == 1) {
        usleep(SETTLE_US);
        double start = measure_now_ms();
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        double taken = measure_now_ms() - start;
        if (pid < 0 || waitpid(pid, NULL, 0) < 0 || write(channel, &taken, sizeof taken) != sizeof taken)
            err(1, "fork");
    }
    _exit(0);
}

static struct bare bare_start(const char *memory, const struct life *life)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        err(1, "socketpair");
    struct bare bare = {.pid = fork(), .channel = pair[0]};
    if (bare.pid < 0)
        err(1, "fork");
    if (bare.pid == 0) {
        close(pair[0]);
        bare_process(pair[1], memory, life);
    }
    close(pair[1]);
    return bare;
}

static double bare_ms(const struct bare *bare)
{
    double taken;
    if (write(bare->channel, "", 1) != 1 ||
        recv(bare->channel, &taken, sizeof taken, MSG_WAITALL) != sizeof taken)
        errx(1, "the floor ended");
    return taken;
}

static void bare_end(const struct bare *bare)
{
    close(bare->channel);
    waitpid(bare->pid, NULL, 0);
}

/* --- what is measured -------------------------------------------------------------------------------------
 */

static double measure_life(const char *vmm, const char *guest, struct life life, int count)
{
    struct source source = {0};
    source_make(&source, vmm, guest, &life);
    struct bare bare = bare_start(source.snapshot.memory, &life);
    double *ours = calloc((size_t)count * 3, sizeof *ours);
    if (ours == NULL)
        err(1, "calloc");
    double *floors = ours + count;
    double *calls = floors + count;
    uint32_t way;
    branch_ms(&source, calls, &way); /* warm up */
    bare_ms(&bare);
    for (int i = 0; i < count; i++) {
        /* Each comes after the other in turn: what is left of one may disturb the next. */
        if (i % 2 == 0)
            floors[i] = bare_ms(&bare);
        ours[i] = branch_ms(&source, &calls[i], &way);
        if (i % 2 == 1)
            floors[i] = bare_ms(&bare);
    }
    double floor_p50 = measure_median(floors, count);
    double call_p50 = measure_median(calls, count);
    double p50 = measure_median(ours, count);
    printf("%8d %8d %9s %9.2f %9.2f %9.2f %8.3f %8s %9.1f\n", life.read, life.written,
           life.spread ? "scattered" : "together", p50, ours[count * 99 / 100], floor_p50, p50 / floor_p50,
           way == FORKD_BRANCH_PRECOPY ? "precopy" : "fork", call_p50);
    fflush(stdout);
    bare_end(&bare);
    source_remove(&source);
    free(ours);
    return p50 / floor_p50;
}

static uint64_t rounds(const struct source *source)
{
    struct stat info;
    if (stat(source->console, &info) < 0)
        err(1, "%s", source->console);
    return (uint64_t)info.st_size;
}

/* Rounds over its memory that the guest does in a second: before a branch, and in the second after one that
 * lives on. */
static void measure_slowdown(const char *vmm, const char *guest, int mib)
{
    struct forkd_error error;
    struct source source = {0};
    source_make(&source, vmm, guest, &(struct life){.written = mib, .busy = true});
    sleep(1);
    uint64_t start = rounds(&source);
    sleep(1);
    uint64_t before = rounds(&source) - start;
    struct forkd_branch_options options = {.directory = source.branch};
    struct forkd_branch_result result;
    struct forkd_server *twin = NULL;
    start = rounds(&source);
    check(forkd_vm_branch(source.vm, &options, &twin, &result, &error), &error);
    sleep(1);
    uint64_t after = rounds(&source) - start;
    start = rounds(&source);
    sleep(1);
    uint64_t later = rounds(&source) - start;
    printf("a guest that writes to %d MiB all the time: %.0f %% of its speed in the second after a branch "
           "(pause "
           "%.2f ms), %.0f %% in the next\n",
           mib, 100.0 * (double)after / (double)before, (double)result.pause_us / 1000,
           100.0 * (double)later / (double)before);
    forkd_server_free(twin);
    remove_branch(&source);
    source_remove(&source);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        errx(2, "usage: branch VMM GUEST BRANCHES");
    int count = atoi(argv[3]);
    double ratios[FIGURE_SOURCES];
    printf("pause of a branch, ms, %d branches each; call: until forkd_vm_branch is back\n", count);
    printf("%8s %8s %9s %9s %9s %9s %8s %8s %9s\n", "read MiB", "written", "", "p50", "p99", "fork(2)",
           "ratio", "way", "call");
    for (int i = 0; i < SIZE_COUNT; i++)
        measure_life(argv[1], argv[2], (struct life){.written = sizes[i]}, count);
    for (int i = 0; i < FIGURE_SOURCES; i++)
        ratios[i] = measure_life(argv[1], argv[2], (struct life){.written = FIGURE_MIB}, count);
    measure_slowdown(argv[1], argv[2], 64);
    double large = 0; /* the worse of both */
    for (int i = 0; i < OLD_COUNT * 2; i++) {
        struct life life = {.read = old[i / 2].read, .written = old[i / 2].written, .spread = i % 2 == 1};
        double ratio = measure_life(argv[1], argv[2], life, count);
        if (i / 2 == OLD_COUNT - 1)
            large = ratio > large ? ratio : large;
    }
    printf("branch-pause ratio-to-fork-at-256MiB: %.2f\n", measure_median(ratios, FIGURE_SOURCES));
    printf("branch-pause ratio-to-fork-at-3GiB: %.3f\n", large);
    return 0;
}
