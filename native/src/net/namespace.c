/* SPDX-License-Identifier: Apache-2.0 */
#include "net/namespace.h"

#include "net/link.h"
#include "net/rules.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOLDER "/run/netns"
#define OWN "/proc/self/ns/net"
#define INSIDE "veth0"
#define INSIDE_INDEX 100 /* free in a new namespace, and so known before the kernel says it */
#define LOOPBACK_INDEX 1
#define RESOLVER_END_MS 5000

static int own_namespace = -1;

int namespace_init(struct forkd_error *err)
{
    own_namespace = open(OWN, O_RDONLY | O_CLOEXEC);
    return own_namespace < 0 ? error_set(err, errno, "open", OWN, NULL) : 0;
}

static void path_of(char path[PATH_MAX], const char *name)
{
    snprintf(path, PATH_MAX, FOLDER "/%s", name);
}

/* A process that stayed in another namespace would do to that what is meant for its own. */
static void come_back(void)
{
    if (setns(own_namespace, CLONE_NEWNET) < 0) {
        perror("forkd-net: setns to its own network namespace");
        _exit(1);
    }
}

/* As ip-netns(8) has it: a shared mount, so that what is mounted here is seen wherever the folder is. */
static int make_folder(struct forkd_error *err)
{
    if (mkdir(FOLDER, 0755) < 0 && errno != EEXIST)
        return error_set(err, errno, "make", FOLDER, NULL);
    if (mount("", FOLDER, "none", MS_SHARED | MS_REC, NULL) == 0)
        return 0;
    if (errno != EINVAL || mount(FOLDER, FOLDER, "none", MS_BIND | MS_REC, NULL) < 0 ||
        mount("", FOLDER, "none", MS_SHARED | MS_REC, NULL) < 0)
        return error_set(err, errno, "mount", FOLDER, NULL);
    return 0;
}

static int write_setting(const char *path, const char *value, bool may_be_missing, struct forkd_error *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && may_be_missing)
        return 0;
    ssize_t written = fd < 0 ? -1 : write(fd, value, strlen(value));
    int result = written < 0 ? error_set(err, errno, "write", path, NULL) : 0;
    if (fd >= 0)
        close(fd);
    return result;
}

/* The veth of a new namespace, which the process is in, to ours; and the way out by it. *made: there is one.
 */
static int connect_inside(const struct namespace_plan *plan, bool *made, struct forkd_error *err)
{
    struct link_batch batch;
    uint8_t ours[LINK_MAC_BYTES];
    uint8_t theirs[LINK_MAC_BYTES];
    link_mac_of(ours, LINK_END_HERE, plan->address);
    link_mac_of(theirs, LINK_END_THERE, plan->address);
    int result = link_open(&batch, err);
    if (result < 0)
        return result;
    link_veth(&batch, INSIDE, INSIDE_INDEX, theirs, plan->uplink, own_namespace, ours);
    result = link_send(&batch, err);
    *made = result == 0;
    if (result == 0) {
        link_up(&batch, LOOPBACK_INDEX, "lo");
        link_address(&batch, INSIDE_INDEX, plan->address, 32);
        link_route(&batch, INSIDE_INDEX, plan->next_hop, 32, 0);
        link_neighbour(&batch, INSIDE_INDEX, plan->next_hop, ours);
        link_route(&batch, INSIDE_INDEX, 0, 0, plan->next_hop);
        result = link_send(&batch, err);
    }
    link_close(&batch);
    return result;
}

/* The rules are there before the way out is. */
static int fill_inside(const struct namespace_plan *plan, const char *script, bool *made,
                       struct forkd_error *err)
{
    int result;
    if ((result = write_setting("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", true, err)) < 0 ||
        (result = write_setting("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1", true, err)) < 0 ||
        (result = write_setting("/proc/sys/net/ipv4/ip_forward", "1", false, err)) < 0 ||
        (result = link_tap(plan->tap, LINK_NO_OWNER, plan->gateway, plan->gateway_bits, err)) < 0 ||
        (*script != '\0' && (result = rules_run(script, NULL, err)) < 0))
        return result;
    return connect_inside(plan, made, err);
}

/* The way to it, in our namespace. */
static int connect_outside(const struct namespace_plan *plan, struct forkd_error *err)
{
    struct link_batch batch;
    uint8_t theirs[LINK_MAC_BYTES];
    link_mac_of(theirs, LINK_END_THERE, plan->address);
    int uplink = link_index(plan->uplink, err);
    int result = uplink < 0 ? uplink : link_open(&batch, err);
    if (result < 0)
        return result;
    link_up(&batch, uplink, plan->uplink);
    link_neighbour(&batch, uplink, plan->address, theirs);
    link_route(&batch, uplink, plan->address, 32, 0);
    result = link_send(&batch, err);
    link_close(&batch);
    return result;
}

/* With its last name, a namespace and what is in it goes, but not at once. */
static void undo(const char *path, const char *uplink)
{
    struct link_batch batch;
    if (uplink != NULL && link_open(&batch, NULL) == 0) {
        link_doom(&batch, uplink);
        link_delete_doomed(&batch);
        link_send(&batch, NULL);
        link_close(&batch);
    }
    umount2(path, MNT_DETACH);
    unlink(path);
}

int namespace_make(const struct namespace_plan *plan, const char *script, struct forkd_error *err)
{
    char path[PATH_MAX];
    path_of(path, plan->name);
    int result = make_folder(err);
    if (result < 0)
        return result;
    int file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
    if (file < 0)
        return error_set(err, errno, "make", path, NULL);
    close(file);
    bool connected = false;
    if (unshare(CLONE_NEWNET) < 0) {
        result = error_set(err, errno, "make", "network namespace", NULL);
    } else {
        result = fill_inside(plan, script, &connected, err);
        if (result == 0 && mount(OWN, path, "none", MS_BIND, NULL) < 0)
            result = error_set(err, errno, "mount", path, NULL);
        come_back();
    }
    if (result == 0)
        result = connect_outside(plan, err);
    if (result < 0)
        undo(path, connected ? plan->uplink : NULL);
    return result;
}

int namespace_within(const char *name, int (*action)(void *context, struct forkd_error *err), void *context,
                     struct forkd_error *err)
{
    if (strcmp(name, "-") == 0)
        return action(context, err);
    char path[PATH_MAX];
    path_of(path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno, "open", path, NULL);
    int result = setns(fd, CLONE_NEWNET) < 0 ? error_set(err, errno, "enter", path, NULL) : 0;
    close(fd);
    if (result < 0)
        return result;
    result = action(context, err);
    come_back();
    return result;
}

static bool is_resolver(const char *pid, const struct stat *wanted)
{
    char path[64];
    char name[32] = "";
    struct stat found;
    snprintf(path, sizeof path, "/proc/%.16s/comm", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t count = read(fd, name, sizeof name - 1);
    close(fd);
    snprintf(path, sizeof path, "/proc/%.16s/ns/net", pid);
    return count > 0 && strcmp(name, "dnsmasq\n") == 0 && stat(path, &found) == 0 &&
           found.st_ino == wanted->st_ino && found.st_dev == wanted->st_dev;
}

/* Returns when it is gone: until then it has its sockets, and the next one cannot have them. */
static int end_process(int pidfd, struct forkd_error *err)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
        return error_set(err, errno, "end", "dnsmasq", NULL);
    int count = poll(&ended, 1, RESOLVER_END_MS);
    return count > 0 ? 0 : error_set(err, count < 0 ? errno : ETIMEDOUT, "end", "dnsmasq", NULL);
}

static int end_resolvers(const char *namespace_file, struct forkd_error *err)
{
    struct stat wanted;
    if (stat(namespace_file, &wanted) < 0)
        return errno == ENOENT ? 0 : error_set(err, errno, "look at", namespace_file, NULL);
    DIR *processes = opendir("/proc");
    if (processes == NULL)
        return error_set(err, errno, "list", "/proc", NULL);
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (entry = readdir(processes)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        /* Before it is looked at: the number may be another's by the time it is ended. */
        int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)strtol(entry->d_name, NULL, 10), 0);
        if (pidfd < 0)
            continue;
        if (is_resolver(entry->d_name, &wanted))
            result = end_process(pidfd, err);
        close(pidfd);
    }
    closedir(processes);
    return result;
}

int namespace_end_resolver(const char *name, struct forkd_error *err)
{
    char path[PATH_MAX];
    path_of(path, name);
    return end_resolvers(path, err);
}

int namespace_end_own_resolver(struct forkd_error *err)
{
    return end_resolvers(OWN, err);
}

int namespace_remove(const char *name, const char *uplink, struct forkd_error *err)
{
    char path[PATH_MAX];
    struct link_batch batch;
    path_of(path, name);
    int result = link_open(&batch, err);
    if (result < 0)
        return result;
    batch.missing_is_fine = true;
    link_doom(&batch, uplink);
    result = link_send(&batch, err);
    link_close(&batch);
    if (result < 0)
        return result;
    if (umount2(path, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
        return error_set(err, errno, "unmount", path, NULL);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set(err, errno, "remove", path, NULL);
    return 0;
}
