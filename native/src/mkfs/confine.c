/* SPDX-License-Identifier: Apache-2.0 */
#include "mkfs/confine.h"

#include "base/path.h"
#include "mkfs/fail.h"
#include "proc/capabilities.h"
#include "proc/filter.h"
#include "proc/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALL FILTER_CALL
#define CALL_WITH FILTER_CALL_WITH

static const struct filter_value prctls[] = {FILTER_VALUE(PR_GET_DUMPABLE), FILTER_END_OF_VALUES};

/* No sockets, no programs, no other process. */
static const struct filter_call calls[] = {
    CALL(read, "the description"),
    CALL(pwrite64, "the image"),
    CALL(pwritev, "the image"),
    CALL(write, "the answer; files of a tree"),
    CALL(pread64, "the image"),
    CALL(lseek, "where to in a file"),
    CALL(fallocate, "holes"),
    CALL(ftruncate, "the image's size"),
    CALL(sync_file_range, "the disk is to begin"),
    CALL(fsync, "the image is complete"),
    CALL(fdatasync, "the same"),
    CALL(fadvise64, "what was written is not read again"),
    CALL(copy_file_range, "contents of a tree's files"),
    CALL(openat, "the image; files of a tree"),
    CALL(open, "the same"),
    CALL(close, "descriptors"),
    CALL(fstat, "what a descriptor is"),
    CALL(newfstatat, "the same"),
    CALL(stat, "the same"),
    CALL(lstat, "the same"),
    CALL(fcntl, "descriptors' flags"),
    CALL(ioctl, "whether an image is a device, and the answer goes to a terminal"),
    CALL(mkdir, "a tree"),
    CALL(rmdir, "a tree"),
    CALL(mknod, "a tree"),
    CALL(mknodat, "a tree"),
    CALL(link, "a tree"),
    CALL(linkat, "a tree"),
    CALL(symlink, "a tree"),
    CALL(rename, "a tree"),
    CALL(unlink, "a tree"),
    CALL(chmod, "a tree"),
    CALL(fchmod, "a tree"),
    CALL(fchmodat, "a tree"),
    CALL(lchown, "a tree"),
    CALL(fchown, "a tree"),
    CALL(fchownat, "a tree"),
    CALL(utimensat, "a tree"),
    CALL(lsetxattr, "a tree"),
    CALL(fsetxattr, "a tree"),
    CALL(umask, "a tree"),
    CALL(chdir, "a tree"),
    CALL(readlink, "the C library"),
    CALL_WITH(mmap, 2, FILTER_NO_BITS, filter_executable, "memory"),
    CALL_WITH(mprotect, 2, FILTER_NO_BITS, filter_executable, "memory"),
    CALL(munmap, "memory"),
    CALL(mremap, "memory"),
    CALL(madvise, "memory"),
    CALL(brk, "memory"),
    CALL(getrandom, "the C library"),
    CALL(clock_gettime, "time"),
    CALL(gettimeofday, "time"),
    CALL(time, "time"),
    CALL(getuid, "whether it is root, which decides on owners"),
    CALL(geteuid, "the same"),
    CALL(getgid, "the same"),
    CALL(getegid, "the same"),
    CALL(getpid, "the C library"),
    CALL_WITH(prctl, 0, FILTER_ONE_OF, prctls, "whether the environment is to be trusted, for libext2fs"),
    CALL(getrusage, "statistics of libext2fs"),
    CALL(futex, "the C library"),
    CALL(uname, "the kernel's version, for libext2fs"),
    CALL(prlimit64, "how large a file may be, for libext2fs"),
    CALL(rt_sigaction, "signals"),
    CALL(rt_sigprocmask, "signals"),
    CALL(rt_sigreturn, "signals"),
    CALL(restart_syscall, "signals"),
    CALL(exit_group, "the end"),
    FILTER_END_OF_CALLS,
};

#ifdef FORKD_SANITIZE
/* Not in what is shipped, and not in what is printed. */
static const struct filter_call of_sanitizers[] = {
    CALL(sigaltstack, "sanitizer"),
    CALL(gettid, "sanitizer"),
    CALL(getdents64, "sanitizer"),
    CALL(clone, "leak sanitizer"),
    CALL(wait4, "leak sanitizer"),
    CALL(ptrace, "leak sanitizer"),
    CALL(sched_yield, "sanitizer"),
    CALL(getppid, "leak sanitizer"),
    CALL(process_vm_readv, "sanitizer"),
    CALL(set_robust_list, "glibc"),
    CALL(exit, "leak sanitizer"),
    CALL(tgkill, "sanitizer"),
    CALL(sched_getaffinity, "sanitizer"),
    CALL(pipe2, "sanitizer"),
    FILTER_END_OF_CALLS,
};
#define SANITIZED of_sanitizers
#else
#define SANITIZED NULL
#endif

const struct filter_role filter_roles[] = {
    {"image", "forkd-mkfs and forkd-mktree, which make an image's files", calls, SANITIZED},
    {NULL, NULL, NULL, NULL},
};

/* Of root's, those that give files away. Not that for device nodes: who can make one of the host's disk in
 * the folder can open it there. */
#define KEPT_CAPABILITIES                                                                                    \
    (CAPABILITY(CAP_CHOWN) | CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_FOWNER) |                         \
     CAPABILITY(CAP_FSETID) | CAPABILITY(CAP_SETFCAP))

/* The folder that the last part of a path is a name in. */
static int open_folder_of(const char *path)
{
    char folder[4096];
    if (path_folder(path, folder, sizeof folder) < 0)
        fail("%s: the path is too long", path);
    return open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* It says why it ends as it says all else. */
static void tell(const struct forkd_error *error)
{
    fail("%s", error->text);
}

void confine_to_output(const char *path)
{
    struct forkd_error error;
    if (capabilities_gain_none(&error) < 0)
        fail("cannot give up privileges: %s", error.text);
    if (capabilities_keep(KEPT_CAPABILITIES, &error) < 0)
        fail("%s", error.text);
    int folder = open_folder_of(path);
    if (folder < 0)
        fail("cannot open the folder of %s: %s", path, strerror(errno));
    /* Without Landlock it writes where its user may; forkd doctor says so. */
    landlock_restrict(0, folder);
    close(folder);
    if (filter_install(filter_roles, tell, &error) < 0)
        fail("%s", error.text);
}
