/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first-answer: of a guest with a stock kernel, the time from the call that forks a child until it is ready,
 * until the first expression is evaluated in its warm interpreter, and until the first command has been run.
 * Of children of a snapshot and of a live branch, with the working set and without, in turn. Runs in the lab,
 * beside the library.
 *
 *   first-answer VMM KERNEL INITRD ROOTFS ROUNDS COMMAND-LINE
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define READY_MS 300000
#define MEMORY (512ull << 20)
#define ROUNDS_MAX 64

#define WORKING_SET "snapshot/working-set"

static const char eval[] = "{\"action\":\"eval\",\"code\":\"1 + 1\"}\n";
static const char exec[] = "{\"action\":\"exec\",\"args\":[\"true\"],\"timeout\":60}\n";

/* What one child took, in the order of the columns. */
enum { READY, ANSWER, READY_FAULTS, ANSWER_FAULTS, PRIVATE_KIB, COLUMNS };

struct kind {
    const char *name;
    struct forkd_server *server;
    const char *question;
    double samples[COLUMNS][ROUNDS_MAX];
};

static void check(int result, const struct forkd_error *error)
{
    if (result < 0)
        errx(1, "%s", error->text);
}

static struct forkd_vm_status await_ready(struct forkd_vm *vm, const char *console)
{
    struct forkd_error error;
    struct forkd_vm_status status;
    check(forkd_vm_wait(vm, READY_MS, &status, &error), &error);
    if (status.phase != FORKD_VM_READY)
        errx(1, "it ended: %s; see %s", status.error.text, console);
    return status;
}

/* How often a guest has touched a page that its VM did not have: KVM counts. */
static double guest_faults(int pid)
{
    char pattern[64];
    glob_t found;
    unsigned long long faults = 0;
    snprintf(pattern, sizeof pattern, "/sys/kernel/debug/kvm/%d-*/pf_taken", pid);
    if (glob(pattern, 0, NULL, &found) != 0)
        errx(1, "there is no %s: it takes root, and a mounted debugfs", pattern);
    FILE *file = fopen(found.gl_pathv[0], "r");
    if (file == NULL || fscanf(file, "%llu", &faults) != 1)
        errx(1, "%s cannot be read", found.gl_pathv[0]);
    fclose(file);
    globfree(&found);
    return (double)faults;
}

static struct forkd_vm *fork_child(struct forkd_server *server, const char *console)
{
    const struct forkd_child_options options = {
        .hostname = "child", .console_path = console, .ready_timeout_ms = READY_MS};
    struct forkd_error error;
    struct forkd_vm *child = NULL;
    check(forkd_server_fork(server, &options, &child, &error), &error);
    return child;
}

static void measure_child(struct kind *kind, int sample)
{
    double start = measure_now_ms();
    struct forkd_vm *child = fork_child(kind->server, "child.console");
    int pid = await_ready(child, "child.console").pid;
    double ready = measure_now_ms() - start;
    double faults = guest_faults(pid);
    double looked = measure_now_ms() - start - ready;
    measure_ask(child, kind->question, NULL);
    double answer = measure_now_ms() - start - looked;
    double answer_faults = guest_faults(pid) - faults;
    double private_kib = measure_smaps_kib(pid, "Private_Dirty:");
    forkd_vm_free(child);
    usleep(200000); /* its end is not the next one's time */
    if (sample < 0) /* a warm-up */
        return;
    kind->samples[READY][sample] = ready;
    kind->samples[ANSWER][sample] = answer;
    kind->samples[READY_FAULTS][sample] = faults;
    kind->samples[ANSWER_FAULTS][sample] = answer_faults;
    kind->samples[PRIVATE_KIB][sample] = private_kib;
}

static void boot_and_snapshot(char **argv)
{
    const struct forkd_disk disk = {.path = argv[4]};
    const struct forkd_boot_options options = {.vmm_path = argv[1],
                                               .kernel_path = argv[2],
                                               .initrd_path = argv[3],
                                               .command_line = argv[6],
                                               .memory_bytes = MEMORY,
                                               .vcpu_count = 1,
                                               .disks = &disk,
                                               .disk_count = 1,
                                               .console_path = "boot.console"};
    struct forkd_error error;
    struct forkd_vm *vm = NULL;
    check(forkd_vm_boot(&vm, &options, &error), &error);
    await_ready(vm, options.console_path);
    mkdir("snapshot", 0700);
    check(forkd_vm_snapshot(vm, "snapshot", &error), &error);
    forkd_vm_free(vm);
}

static struct forkd_server *start_server(char **argv, const char *working_set, uint32_t flags)
{
    const char *const layers[] = {"snapshot/disk-0.layer"};
    const struct forkd_disk disk = {
        .path = argv[4], .layer_paths = layers, .layer_count = access(layers[0], F_OK) == 0 ? 1 : 0};
    const struct forkd_server_options options = {.vmm_path = argv[1],
                                                 .memory_path = "snapshot/memory.bin",
                                                 .vmstate_path = "snapshot/vmstate",
                                                 .disks = &disk,
                                                 .disk_count = 1,
                                                 .flags = flags,
                                                 .working_set_path = working_set};
    struct forkd_server *server = NULL;
    struct forkd_error error;
    check(forkd_server_start(&server, &options, &error), &error);
    return server;
}

static void learn(char **argv)
{
    struct forkd_server *server = start_server(argv, WORKING_SET, FORKD_LEARN_WORKING_SET);
    struct forkd_vm *child = fork_child(server, "learn.console");
    await_ready(child, "learn.console");
    measure_ask(child, eval, NULL);
    forkd_vm_free(child);
    forkd_server_free(server);
    struct stat info;
    if (stat(WORKING_SET, &info) < 0 || info.st_size == 0)
        errx(1, "no working set was learnt");
    printf("working set: %lld bytes\n", (long long)info.st_size);
}

/* A source that has been asked something, branched while it runs; the source is kept as long as the branch.
 */
static struct forkd_server *branch(struct forkd_server *server, const char *folder, struct forkd_vm **source)
{
    *source = fork_child(server, "source.console");
    await_ready(*source, "source.console");
    measure_ask(*source, eval, NULL);
    mkdir(folder, 0700);
    const struct forkd_branch_options options = {.directory = folder};
    struct forkd_branch_result result;
    struct forkd_server *twin = NULL;
    struct forkd_error error;
    check(forkd_vm_branch(*source, &options, &twin, &result, &error), &error);
    check(forkd_server_wait_written(twin, READY_MS, &error), &error);
    return twin;
}

static double show(struct kind *kind, int rounds)
{
    double median[COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        median[i] = measure_median(kind->samples[i], rounds);
    printf("%-36s %9.1f %9.1f %7.2f %9.0f %9.0f %9.0f\n", kind->name, median[READY], median[ANSWER],
           median[ANSWER] / median[READY], median[READY_FAULTS], median[ANSWER_FAULTS], median[PRIVATE_KIB]);
    return median[ANSWER] / median[READY];
}

int main(int argc, char **argv)
{
    if (argc != 7)
        errx(2, "usage: first-answer VMM KERNEL INITRD ROOTFS ROUNDS COMMAND-LINE");
    int rounds = atoi(argv[5]);
    if (rounds < 1 || rounds > ROUNDS_MAX)
        errx(2, "1 to %d rounds", ROUNDS_MAX);
    setvbuf(stdout, NULL, _IOLBF, 0);
    boot_and_snapshot(argv);
    learn(argv);
    struct forkd_server *bare = start_server(argv, NULL, 0);
    struct forkd_server *prepared = start_server(argv, WORKING_SET, 0);
    struct forkd_vm *sources[2] = {NULL};
    struct forkd_server *bare_branch = branch(bare, "bare-branch", &sources[0]);
    struct forkd_server *prepared_branch = branch(prepared, "branch", &sources[1]);
    static struct kind kinds[8];
    const struct kind known[] = {
        {.name = "snapshot, eval", .server = prepared, .question = eval},
        {.name = "snapshot, exec", .server = prepared, .question = exec},
        {.name = "snapshot, nothing prepared, eval", .server = bare, .question = eval},
        {.name = "snapshot, nothing prepared, exec", .server = bare, .question = exec},
        {.name = "live branch, eval", .server = prepared_branch, .question = eval},
        {.name = "live branch, exec", .server = prepared_branch, .question = exec},
        {.name = "live branch, nothing prepared, eval", .server = bare_branch, .question = eval},
        {.name = "live branch, nothing prepared, exec", .server = bare_branch, .question = exec},
    };
    int count = (int)(sizeof known / sizeof known[0]);
    memcpy(kinds, known, sizeof known);
    for (int round = -1; round < rounds; round++) {
        for (int i = 0; i < count; i++)
            measure_child(&kinds[i], round);
    }
    printf("from the call that forks, ms, p50 of %d, on one processor; page faults of the guest; memory of "
           "its own, "
           "KiB\n%-36s %9s %9s %7s %9s %9s %9s\n",
           rounds, "children of, asked for", "ready", "answered", "ratio", "faults", "... more", "private");
    double ratio = 0;
    for (int i = 0; i < count; i++) {
        double shown = show(&kinds[i], rounds);
        bool counts =
            kinds[i].question == eval && (kinds[i].server == prepared || kinds[i].server == prepared_branch);
        ratio = counts && shown > ratio ? shown : ratio;
    }
    forkd_server_free(bare_branch);
    forkd_server_free(prepared_branch);
    forkd_vm_free(sources[0]);
    forkd_vm_free(sources[1]);
    forkd_server_free(bare);
    forkd_server_free(prepared);
    printf("first-answer eval-to-exec-of-nothing: %.2f\n", ratio);
    return 0;
}
