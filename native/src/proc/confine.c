/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/confine.h"

#include "base/broker.h"
#include "base/channel.h"
#include "machine/kvm.h"
#include "proc/broker.h"
#include "proc/capabilities.h"
#include "proc/control.h"
#include "proc/filter.h"
#include "proc/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The users of sandboxes are FIRST_USER + the number of the sandbox's process: nobody's, on any host, and no
 * two that live have the same. */
#define FIRST_USER 0x66000000u
#define MAX_PID (1u << 22)

static bool has_own_user;

static bool not_in_force(struct confine_layer *layer, const char *what)
{
    snprintf(layer->why, sizeof layer->why, "%s: %s", what, strerror(errno));
    layer->in_force = false;
    return false;
}

/* --- privileges -------------------------------------------------------------------------------------------
 */

/*
 * What is said there is read by somebody; nothing there is read by us. A terminal is as often as not open for
 * both, and whoever reads it has what its user types. A socket, as the journal's, has no such difference, and
 * could be shut down for all who have it.
 */
static void only_write_errors(void)
{
    struct stat info;
    bool is_socket = fstat(STDERR_FILENO, &info) == 0 && S_ISSOCK(info.st_mode);
    if ((fcntl(STDERR_FILENO, F_GETFL) & O_ACCMODE) == O_WRONLY)
        return;
    int fd = is_socket ? -1 : open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
    dup2(fd < 0 ? STDOUT_FILENO : fd, STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* Whether the users of sandboxes exist here: in a container there may be fewer. */
static void find_users(struct confine_layer *layer)
{
    unsigned long inside = 0;
    unsigned long outside = 0;
    unsigned long count = 0;
    if (geteuid() != 0) {
        snprintf(layer->why, sizeof layer->why, "only root can give a process another user");
        return;
    }
    FILE *map = fopen("/proc/self/uid_map", "re");
    if (map == NULL) {
        not_in_force(layer, "/proc/self/uid_map");
        return;
    }
    while (!layer->in_force && fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3)
        layer->in_force = inside <= FIRST_USER && count > FIRST_USER - inside + MAX_PID;
    fclose(map);
    if (!layer->in_force)
        snprintf(layer->why, sizeof layer->why, "this user namespace has no user %u and following",
                 FIRST_USER);
}

/* Once for all sandboxes: their group has nobody else in it, and nothing is any group's here. */
static int leave_groups(struct forkd_error *err)
{
    if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, FIRST_USER, FIRST_USER, FIRST_USER) < 0)
        return error_set(err, errno, "setresgid", "fork server", NULL);
    return 0;
}

int confine_to_own_user(struct forkd_error *err)
{
    uid_t user = FIRST_USER + (uid_t)getpid();
    /* A twin's children stay what their source is: the privilege is gone. Nothing is noted, since that would
     * be a page of each child's own. */
    if (!has_own_user || geteuid() != 0)
        return 0;
    /* The call itself: the C library's would have other threads do the same, of which there are none. */
    if (syscall(SYS_setresuid, user, user, user) < 0)
        return error_set(err, errno, "setresuid", "sandbox", "to a user of its own");
    return 0;
}

/* --- namespaces and the root ------------------------------------------------------------------------------
 */

/*
 * Everything that has a name is out of reach: the host's network, mounts, IPC. A descriptor that was opened
 * outside, as a tap's, works here as well. Other users than root need a user namespace to make the others.
 */
static bool enter_namespaces(struct confine_layer *layer)
{
    int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    layer->in_force = unshare(flags) == 0 || unshare(flags | CLONE_NEWUSER) == 0;
    return layer->in_force || not_in_force(layer, "unshare");
}

/*
 * The root becomes an empty folder, which nobody can write to, and the old one is let go. Another is mounted
 * over it, so that ours is not the topmost: the kernel takes that for chroot(2), in which nobody can make a
 * user namespace, and without that no other. A filter cannot keep anybody from it, as what clone3(2) is asked
 * for is in memory.
 */
static bool empty_root(struct confine_layer *layer)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("forkd", "/proc", "tmpfs", flags, "size=4k,nr_inodes=1,mode=0555") < 0 || chdir("/proc") < 0)
        return not_in_force(layer, "mount");
    if (syscall(SYS_pivot_root, ".", ".") == 0) {
        if (umount2(".", MNT_DETACH) < 0)
            return not_in_force(layer, "umount");
    } else if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0) { /* the root is an initramfs */
        return not_in_force(layer, "chroot");
    }
    if (chdir("/") < 0 || mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0 ||
        mount("forkd", "/", "tmpfs", flags | MS_RDONLY, "size=4k,nr_inodes=1,mode=0555") < 0)
        return not_in_force(layer, "remount");
    layer->in_force = true;
    return true;
}

/* --- Landlock ---------------------------------------------------------------------------------------------
 */

/* What the broker does to files; nobody does more. */
#define FILES_OF_BROKER                                                                                      \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |         \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_FS_TRUNCATE)

/* Needs no privilege, and holds also for a folder whose descriptor is held, from which a path would lead out
 * of any root. */
static bool restrict_paths(uint64_t allowed, struct confine_layer *layer)
{
    layer->in_force = landlock_restrict(allowed, -1);
    return layer->in_force || not_in_force(layer, "landlock");
}

/* --- the broker -------------------------------------------------------------------------------------------
 */

/* Root's broker writes to folders of whomever, and looks at and ends processes of other users. */
#define BROKER_CAPABILITIES (CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_SYS_PTRACE) | CAPABILITY(CAP_KILL))
/* For confine_to_own_user; and what ends a child together with its server is a signal that the server sends.
 */
#define MONITOR_CAPABILITIES (CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_KILL))

/* Of its descriptors, of which a channel takes two, half can be one sandbox's. */
static uint32_t most_channels(void)
{
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur / 4 > MAX_PID ? MAX_PID : (uint32_t)(limit.rlim_cur / 4) + 1;
}

static _Noreturn void run_broker(int requests, int proc)
{
    struct forkd_error error;
    uint32_t most = most_channels();
    prctl(PR_SET_NAME, "forkd-broker");
    /* The monitor's are the monitor's alone: who waits for their end waits for its. */
    close(CONTROL_FD);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        dup2(proc, fd);
    if (capabilities_keep(BROKER_CAPABILITIES, &error) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
        filter_install(filter_role("broker"), NULL, &error) < 0)
        _exit(1);
    /* What it has confined itself to is known before there is a guest. */
    if (write(requests, "", 1) != 1)
        _exit(1);
    broker_process(requests, proc, most);
}

/* Not as our child, which a server would have to tell from its own. */
static int start_broker(int proc, struct forkd_error *err)
{
    int pair[2];
    int result = channel_pair(pair, err);
    if (result < 0)
        return result;
    /* Who asks is told by the kernel. */
    channel_ask_sender(pair[1], NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        if (fork() == 0)
            run_broker(pair[1], proc);
        _exit(0);
    }
    int code = errno;
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return error_set(err, code, "fork", "broker", NULL);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    char ready;
    if (read(pair[0], &ready, 1) != 1) {
        close(pair[0]);
        return error_set(err, EPIPE, "start", "broker", "it could not confine itself");
    }
    broker_use(pair[0]);
    return 0;
}

/* --- all of it --------------------------------------------------------------------------------------------
 */

/* A filter is a thread's, and fork(2) copies one. */
static int check_threads(struct forkd_error *err)
{
    struct stat tasks;
    if (stat("/proc/self/task", &tasks) < 0)
        return error_set(err, errno, "stat", "/proc/self/task", NULL);
    if (tasks.st_nlink != 3)
        return error_set(err, EINVAL, "confine", "forkd-vmm", "it has more than one thread");
    return 0;
}

int confine(struct confinement *out, void (*on_violation)(const struct forkd_error *),
            struct forkd_error *err)
{
    struct confine_layer of_broker = {0};
    *out = (struct confinement){0};
    int result = check_threads(err);
    only_write_errors();
    /* The last that is opened by a path: what fails here is told when it is needed. */
    kvm_open_ahead();
    if (result < 0 || (result = capabilities_gain_none(err)) < 0)
        return result;
    /* First what holds for the broker as well. It has to be in what we are in, or it may not look at us. */
    find_users(&out->own_user);
    int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0)
        return error_set(err, errno, "open", "/proc", NULL);
    if (enter_namespaces(&out->namespaces))
        empty_root(&out->empty_root);
    else
        out->empty_root = out->namespaces;
    restrict_paths(FILES_OF_BROKER, &of_broker);
    result = start_broker(proc, err);
    close(proc);
    if (result < 0)
        return result;
    /* From here on what holds for this process only. */
    restrict_paths(0, &out->landlock);
    has_own_user = out->own_user.in_force;
    if (has_own_user && (result = leave_groups(err)) < 0)
        return result;
    if ((result = capabilities_keep(has_own_user ? MONITOR_CAPABILITIES : 0, err)) < 0)
        return result;
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return error_set(err, errno, "prctl", "dumpable", NULL);
    /* Last, since all of the above is what it forbids. */
    return filter_install(filter_role("monitor"), on_violation, err);
}
