/* SPDX-License-Identifier: Apache-2.0 */
/* forkd-vmm: started by libforkd with its control channel at descriptor 3; the first message says what to be.
 */
#include "base/channel.h"
#include "proc/confine.h"
#include "proc/control.h"
#include "proc/filter.h"
#include "proc/server.h"
#include "proc/vm.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

extern uint8_t __ehdr_start[]; /* the linker's: the program's first byte, at address 0 of the file's */

/* Tables of pointers are not to be written any more when they are relocated: what a dynamic linker does, and
 * musl's start-up code does not. */
static void protect_relocated(void)
{
    const Elf64_Ehdr *program = (const Elf64_Ehdr *)__ehdr_start;
    const Elf64_Phdr *header = (const Elf64_Phdr *)(__ehdr_start + program->e_phoff);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < program->e_phnum; i++) {
        uint64_t first = header[i].p_vaddr & ~(page - 1);
        uint64_t end = (header[i].p_vaddr + header[i].p_memsz) & ~(page - 1);
        if (header[i].p_type == PT_GNU_RELRO)
            mprotect(__ehdr_start + first, end - first, PROT_READ);
    }
}

/* The usual limit is that of programs with select(2). */
static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void print_layer(const char *name, const struct confine_layer *layer)
{
    dprintf(STDOUT_FILENO, "%s: %s%s\n", name, layer->in_force ? "in force" : "not in force: ", layer->why);
}

/* What this host has of it: for forkd doctor. */
static int show_confinement(void)
{
    struct confinement confinement;
    struct forkd_error error;
    if (confine(&confinement, NULL, &error) < 0) {
        dprintf(STDOUT_FILENO, "system calls: not in force: %s\n", error.text);
        return 1;
    }
    dprintf(STDOUT_FILENO, "system calls: in force\n"); /* not printf: it asks whether that is a terminal */
    print_layer("namespaces", &confinement.namespaces);
    print_layer("empty root", &confinement.empty_root);
    print_layer("landlock", &confinement.landlock);
    print_layer("own user", &confinement.own_user);
    return 0;
}

/* What somebody else wrote is read by a process that may do nothing any more. */
static int check_by_hand(const char *path)
{
    struct forkd_error error;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_set(&error, errno, "open", path, NULL);
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    struct confinement confinement;
    if (confine(&confinement, NULL, &error) < 0 || vm_check_state(fd, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    return 0;
}

static int usage(void)
{
    fprintf(stderr,
            "forkd-vmm is started by libforkd. By hand it says what it may do:\n"
            "  forkd-vmm --syscalls       the system calls that its processes may make, and why\n"
            "  forkd-vmm --confinement    what else confines it on this host\n"
            "  forkd-vmm --requirements VMSTATE  whether what a snapshot needs of a processor is here\n");
    return 2;
}

static int run_by_hand(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "--syscalls") == 0) {
        filter_print(stdout, filter_roles);
        return 0;
    }
    if (count == 3 && strcmp(arguments[1], "--requirements") == 0)
        return check_by_hand(arguments[2]);
    return count == 2 && strcmp(arguments[1], "--confinement") == 0 ? show_confinement() : usage();
}

int main(int count, char **arguments)
{
    if (count != 1)
        return run_by_hand(count, arguments);
    protect_relocated();
    allow_descriptors();
    signal(SIGPIPE, SIG_IGN); /* writes to sockets that are gone are errors */
    struct confinement confinement;
    struct forkd_error error;
    if (confine(&confinement, vm_tell_violation, &error) < 0) {
        vm_send_reply(CONTROL_FD, error.code, &error);
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    union control_message message;
    size_t length = 0;
    int fds[CHANNEL_MAX_FDS];
    uint32_t fd_count = CHANNEL_MAX_FDS;
    int got = channel_receive(CONTROL_FD, CHANNEL_FOREVER, &message, sizeof message, &length, fds, &fd_count,
                              &error);
    if (got < 0) {
        return usage();
    }
    if (got == 0)
        return 0;
    if (length == sizeof message.boot && message.header.magic == CONTROL_MAGIC &&
        message.header.type == CONTROL_BOOT)
        vm_process_boot(CONTROL_FD, &message.boot, fds, fd_count);
    if (length == sizeof message.serve && message.header.magic == CONTROL_MAGIC &&
        message.header.type == CONTROL_SERVE)
        server_process(CONTROL_FD, &message.serve, fds, fd_count);
    fprintf(stderr, "forkd-vmm: the library that started it is of another version\n");
    return 2;
}
