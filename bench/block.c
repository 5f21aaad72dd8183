/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block: random reads of 4 KiB at depth 32, by a guest through its disk and by fio with io_uring on the same
 * file, in turns: of a file that the host has in memory, and of one that it has to read. Medians. The guest
 * asks again at once for what it has got, without interrupts, so that the way of a request is measured and
 * not a guest's kernel; fio reads as the monitor does, through the page cache.
 *
 *   block VMM GUEST ROUNDS
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ROUNDS 20
#define FILE_MIB 2048
#define READ_BYTES 4096
#define SECONDS 2
#define DEPTH "32"

enum { CACHED, UNCACHED, KINDS };
static const char *const names[KINDS] = {"what the host has in memory", "what the host has to read"};

struct place {
    char folder[64];
    char file[96];
};

static void make_file(const struct place *place)
{
    static char bytes[1 << 20];
    int fd = open(place->file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        err(1, "%s", place->file);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7 + i / 4096);
    for (int i = 0; i < FILE_MIB; i++) {
        if (write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes)
            err(1, "%s", place->file);
    }
    if (fsync(fd) < 0)
        err(1, "%s", place->file);
    close(fd);
}

/* Into memory, or out of it. */
static void prepare(const struct place *place, int kind)
{
    static char bytes[1 << 20];
    int fd = open(place->file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        err(1, "%s", place->file);
    while (kind == CACHED && read(fd, bytes, sizeof bytes) > 0) {
    }
    if (kind == UNCACHED && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        errx(1, "%s: cannot be dropped from the page cache", place->file);
    close(fd);
}

/* What the monitor has read, by the kernel's account; its descriptors' few bytes among it. */
static double bytes_read(int pid)
{
    char path[64];
    double bytes = 0;
    snprintf(path, sizeof path, "/proc/%d/io", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL || fscanf(file, "rchar: %lf", &bytes) != 1)
        err(1, "%s", path);
    fclose(file);
    return bytes;
}

/* Requests a second. */
static double guest_iops(const struct place *place, const char *vmm, const char *guest)
{
    struct forkd_error error;
    const struct forkd_disk disk = {.path = place->file, .mode = FORKD_DISK_READ_ONLY};
    const struct forkd_boot_options options = {.vmm_path = vmm,
                                               .kernel_path = guest,
                                               .command_line = DEPTH,
                                               .memory_bytes = 64ull << 20,
                                               .vcpu_count = 1,
                                               .disks = &disk,
                                               .disk_count = 1,
                                               .flags = FORKD_NO_AGENT};
    struct forkd_vm *vm = NULL;
    struct forkd_vm_status status;
    if (forkd_vm_boot(&vm, &options, &error) < 0 || forkd_vm_wait(vm, 60000, &status, &error) < 0)
        errx(1, "%s", error.text);
    double before = bytes_read(status.pid);
    double start = measure_now_ms();
    sleep(SECONDS);
    double reads = (bytes_read(status.pid) - before) / READ_BYTES;
    double seconds = (measure_now_ms() - start) / 1000;
    if (forkd_vm_wait(vm, 0, &status, &error) < 0 || status.phase != FORKD_VM_READY)
        errx(1, "the guest has ended");
    forkd_vm_free(vm);
    return reads / seconds;
}

static double fio_iops(const struct place *place)
{
    char command[512];
    double iops = 0;
    snprintf(
        command, sizeof command,
        "fio --name=host --filename=%s --readonly --rw=randread --bs=4k --ioengine=io_uring --iodepth=" DEPTH
        " --direct=0 --invalidate=0 --time_based --runtime=%d --output-format=terse --terse-version=3",
        place->file, SECONDS);
    FILE *out = popen(command, "re");
    /* Terse version 3: the eighth field are reads a second. */
    if (out == NULL || fscanf(out, "%*[^;];%*[^;];%*[^;];%*[^;];%*[^;];%*[^;];%*[^;];%lf", &iops) != 1)
        errx(1, "fio has not said how fast it was");
    while (fgetc(out) != EOF) {
    }
    if (pclose(out) != 0)
        errx(1, "fio has failed");
    return iops;
}

int main(int argc, char **argv)
{
    if (argc != 4 || atoi(argv[3]) > MAX_ROUNDS)
        errx(2, "usage: block VMM GUEST ROUNDS");
    int rounds = atoi(argv[3]);
    struct place place = {.folder = "/var/tmp/forkd-bench-XXXXXX"};
    if (mkdtemp(place.folder) == NULL)
        err(1, "%s", place.folder);
    snprintf(place.file, sizeof place.file, "%s/disk.img", place.folder);
    make_file(&place);
    double least = -1;
    for (int kind = 0; kind < KINDS; kind++) {
        double guest[MAX_ROUNDS];
        double host[MAX_ROUNDS];
        for (int round = 0; round < rounds; round++) {
            prepare(&place, kind);
            guest[round] = guest_iops(&place, argv[1], argv[2]);
            prepare(&place, kind);
            host[round] = fio_iops(&place);
        }
        double of_guest = measure_median(guest, rounds);
        double of_host = measure_median(host, rounds);
        printf("%-32s guest %9.0f   fio %9.0f reads a second (p50 of %d)   ratio %.2f\n", names[kind],
               of_guest, of_host, rounds, of_guest / of_host);
        if (least < 0 || of_guest / of_host < least)
            least = of_guest / of_host;
    }
    unlink(place.file);
    rmdir(place.folder);
    printf("block iops-ratio-to-host: %.2f\n", least);
    return 0;
}
