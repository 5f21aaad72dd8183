/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer: one round of ours against a peer's: boot a guest, run a command in it, fork it as it runs into one
 * child and into ten, and run a command in each. Prints a figure a line, milliseconds. Runs in the lab,
 * beside the library.
 *
 *   peer VMM KERNEL INITRD ROOTFS COMMAND-LINE
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READY_MS 300000
#define MANY 10
#define EXECS 5

static const char question[] = "{\"action\":\"exec\",\"args\":[\"/bin/echo\",\"hello\"],\"timeout\":60}\n";

static void check(int result, const struct forkd_error *error)
{
    if (result < 0)
        errx(1, "%s", error->text);
}

static void await_ready(struct forkd_vm *vm)
{
    struct forkd_error error;
    struct forkd_vm_status status;
    check(forkd_vm_wait(vm, READY_MS, &status, &error), &error);
    if (status.phase != FORKD_VM_READY)
        errx(1, "it ended: %s", status.error.text);
}

/* From the call until a command has been run in the last of them. The folder is for what nobody will want. */
static double fork_running(struct forkd_vm *source, const char *folder, int count)
{
    struct forkd_error error;
    struct forkd_branch_result result;
    struct forkd_server *twin = NULL;
    struct forkd_vm *children[MANY];
    char name[16];
    mkdir(folder, 0700);
    double start = measure_now_ms();
    const struct forkd_branch_options options = {.directory = folder, .flags = FORKD_BRANCH_UNWRITTEN};
    check(forkd_vm_branch(source, &options, &twin, &result, &error), &error);
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "child-%d", i + 1);
        const struct forkd_child_options child = {.hostname = name, .ready_timeout_ms = READY_MS};
        check(forkd_server_fork(twin, &child, &children[i], &error), &error);
    }
    for (int i = 0; i < count; i++) {
        await_ready(children[i]);
        measure_ask(children[i], question, "hello");
    }
    double took = measure_now_ms() - start;
    for (int i = 0; i < count; i++)
        forkd_vm_free(children[i]);
    forkd_server_free(twin);
    return took;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        errx(2, "usage: peer VMM KERNEL INITRD ROOTFS COMMAND-LINE");
    const struct forkd_disk disk = {.path = argv[4]};
    const struct forkd_boot_options options = {.vmm_path = argv[1],
                                               .kernel_path = argv[2],
                                               .initrd_path = argv[3],
                                               .command_line = argv[5],
                                               .memory_bytes = 512ull << 20,
                                               .vcpu_count = 1,
                                               .disks = &disk,
                                               .disk_count = 1};
    struct forkd_error error;
    struct forkd_vm *vm = NULL;
    double samples[EXECS];
    double start = measure_now_ms();
    check(forkd_vm_boot(&vm, &options, &error), &error);
    await_ready(vm);
    printf("boot %.1f\n", measure_now_ms() - start);
    for (int i = -1; i < EXECS; i++) {
        start = measure_now_ms();
        measure_ask(vm, question, "hello");
        samples[i < 0 ? 0 : i] = measure_now_ms() - start;
    }
    printf("exec %.1f\n", measure_median(samples, EXECS));
    printf("fork-1 %.1f\n", fork_running(vm, "one", 1));
    printf("fork-10 %.1f\n", fork_running(vm, "many", MANY));
    forkd_vm_free(vm);
    return 0;
}
