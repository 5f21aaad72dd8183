/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sock_diag(7) lists sockets, and its SOCK_DESTROY ends them. Kernels that are configured without, as the
 * 6.1 that Firecracker is tested with, have /proc/net/tcp, and the descriptors of the programs.
 */
#include "tcp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REPLY_SIZE 16384
/* A bit for each state, of which there are 12 (include/net/tcp_states.h); these two talk to nobody. */
#define ALL_STATES 0x1ffeu
#define TALKING (ALL_STATES & ~(1u << TCP_CLOSE | 1u << TCP_LISTEN))
/* Sockets that are ended in one pass through all descriptors. */
#define LISTED 512

static bool is_loopback(uint8_t family, const uint32_t address[4])
{
    static const uint32_t any_v6[3];
    if (family == AF_INET)
        return (ntohl(address[0]) >> 24) == IN_LOOPBACKNET;
    if (memcmp(address, any_v6, sizeof any_v6) == 0 && ntohl(address[3]) == 1)
        return true;
    bool mapped = address[0] == 0 && address[1] == 0 && ntohl(address[2]) == 0xffff;
    return mapped && (ntohl(address[3]) >> 24) == IN_LOOPBACKNET;
}

/* Both ends are in this VM: a connection to an address of one's own has it on both sides. */
static bool is_within(uint8_t family, const uint32_t ours[4], const uint32_t theirs[4])
{
    return is_loopback(family, theirs) || memcmp(ours, theirs, family == AF_INET ? 4 : 16) == 0;
}

/* --- sock_diag --- */

struct request {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
};

static int ask(int fd, struct request *request)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    request->header.nlmsg_len = sizeof *request;
    request->body.sdiag_protocol = IPPROTO_TCP;
    ssize_t sent = sendto(fd, request, sizeof *request, 0, (struct sockaddr *)&kernel, sizeof kernel);
    return sent < 0 ? -errno : 0;
}

/* One answer of one or more messages. Its length, or a negative errno. */
static ssize_t hear(int fd, void *reply)
{
    ssize_t length;
    do {
        length = recv(fd, reply, REPLY_SIZE, 0);
    } while (length < 0 && errno == EINTR);
    return length < 0 ? -errno : length;
}

/* What the last message of an answer says of how it went; a negative errno or 0. */
static int outcome(const struct nlmsghdr *message)
{
    /* Both begin with it: struct nlmsgerr, and the end of a listing (netlink_dump). */
    int error = 0;
    if (message->nlmsg_len >= NLMSG_LENGTH(sizeof error))
        memcpy(&error, NLMSG_DATA(message), sizeof error);
    return error < 0 ? error : 0;
}

/* `fd` is not the one that lists: an answer would stand between the rest of the listing. */
static int destroy(int fd, const struct inet_diag_msg *found)
{
    _Alignas(struct nlmsghdr) uint8_t reply[REPLY_SIZE];
    struct request request = {
        .header = {.nlmsg_type = SOCK_DESTROY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .body = {.sdiag_family = found->idiag_family, .id = found->id},
    };
    int status = ask(fd, &request);
    ssize_t length = status < 0 ? status : hear(fd, reply);
    status = length < 0 ? (int)length : outcome((struct nlmsghdr *)reply);
    return status == -ENOENT ? 0 : status; /* it has just ended by itself */
}

/* 1: there is more to come; 0: that was all; or a negative errno. */
static int end_listed(int ending, struct nlmsghdr *message, ssize_t left)
{
    for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
        if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
            return outcome(message);
        if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
            message->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
            continue;
        const struct inet_diag_msg *found = NLMSG_DATA(message);
        bool within = is_within(found->idiag_family, found->id.idiag_src, found->id.idiag_dst);
        int status = within ? 0 : destroy(ending, found);
        if (status < 0)
            return status;
    }
    return 1;
}

static int end_family(int listing, int ending, uint8_t family)
{
    _Alignas(struct nlmsghdr) uint8_t reply[REPLY_SIZE];
    struct request request = {
        .header = {.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = family, .idiag_states = TALKING},
    };
    int status = ask(listing, &request);
    if (status < 0)
        return status;
    do {
        ssize_t length = hear(listing, reply);
        status = length < 0 ? (int)length : end_listed(ending, (struct nlmsghdr *)reply, length);
    } while (status > 0);
    return status;
}

static int diag_socket(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    return fd < 0 ? -errno : fd;
}

/* -EPROTONOSUPPORT, -ENOENT or -EOPNOTSUPP without CONFIG_SOCK_DIAG, INET_TCP_DIAG or INET_DIAG_DESTROY. */
static int end_by_diag(void)
{
    int listing = diag_socket();
    if (listing < 0)
        return listing;
    int ending = diag_socket();
    int status = ending < 0 ? ending : end_family(listing, ending, AF_INET);
    if (status == 0)
        status = end_family(listing, ending, AF_INET6);
    if (ending >= 0)
        close(ending);
    close(listing);
    return status;
}

/* --- Descriptors --- */

/* The sockets of one pass, by inode; 0: no program has it open. */
struct sockets {
    unsigned long inodes[LISTED];
    size_t count;
};

/* Note what a line of such a table is about (Linux, Documentation/networking/proc_net_tcp.rst;
 * net/ipv6/tcp_ipv6.c, get_tcp6_sock). Addresses are the words as they are in memory. */
static void list_line(struct sockets *out, uint8_t family, const char *line)
{
    static const char v4[] = "%*d: %8x:%*x %8x:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu";
    static const char v6[] = "%*d: %8x%8x%8x%8x:%*x %8x%8x%8x%8x:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu";
    uint32_t ours[4];
    uint32_t theirs[4];
    unsigned state;
    unsigned long inode;
    bool whole = family == AF_INET ? sscanf(line, v4, &ours[0], &theirs[0], &state, &inode) == 4
                                   : sscanf(line, v6, &ours[0], &ours[1], &ours[2], &ours[3], &theirs[0],
                                            &theirs[1], &theirs[2], &theirs[3], &state, &inode) == 10;
    /* What nobody has open any more only says goodbye; one that is to be accepted would go on. */
    unsigned states = inode != 0 ? TALKING : 1u << TCP_ESTABLISHED | 1u << TCP_CLOSE_WAIT;
    if (whole && state < 32 && (states >> state & 1) != 0 && !is_within(family, ours, theirs))
        out->inodes[out->count++] = inode;
}

static int list_table(struct sockets *out, uint8_t family, const char *path)
{
    char line[256];
    FILE *table = fopen(path, "re");
    if (table == NULL)
        return errno == ENOENT ? 0 : -errno; /* no such family in this kernel */
    while (out->count < LISTED && fgets(line, sizeof line, table) != NULL)
        list_line(out, family, line);
    fclose(table);
    return 0;
}

static bool is_listed(const struct sockets *sockets, unsigned long inode)
{
    for (size_t i = 0; i < sockets->count; i++) {
        if (sockets->inodes[i] == inode)
            return true;
    }
    return false;
}

/* Descriptor `name` of a process, if it is one of these. How many were ended. */
static int end_descriptor(const struct sockets *sockets, int process, int folder, const char *name)
{
    static const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    char target[64] = "";
    unsigned long inode;
    if (readlinkat(folder, name, target, sizeof target - 1) < 0 ||
        sscanf(target, "socket:[%lu]", &inode) != 1 || !is_listed(sockets, inode))
        return 0;
    int fd = (int)syscall(SYS_pidfd_getfd, process, atoi(name), 0);
    if (fd < 0)
        return 0;
    int status = connect(fd, &nowhere, sizeof nowhere); /* connect(2): dissolves the association */
    close(fd);
    return status == 0;
}

static int end_in_process(const struct sockets *sockets, pid_t pid)
{
    char path[32];
    int ended = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return 0;
    int descriptors = dirfd(folder);
    int process = (int)syscall(SYS_pidfd_open, pid, 0);
    for (struct dirent *entry; descriptors >= 0 && process >= 0 && (entry = readdir(folder)) != NULL;)
        ended += end_descriptor(sockets, process, descriptors, entry->d_name);
    if (process >= 0)
        close(process);
    closedir(folder);
    return ended;
}

static int end_listed_sockets(const struct sockets *sockets)
{
    int ended = 0;
    DIR *processes = opendir("/proc");
    if (processes == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0)
            ended += end_in_process(sockets, pid);
    }
    closedir(processes);
    return ended;
}

int tcp_end_held_connections(void)
{
    for (;;) {
        struct sockets sockets = {.count = 0};
        int v4 = list_table(&sockets, AF_INET, "/proc/net/tcp");
        int v6 = list_table(&sockets, AF_INET6, "/proc/net/tcp6");
        if (v4 < 0 || v6 < 0 || sockets.count == 0)
            return v4 < 0 ? v4 : v6;
        if (end_listed_sockets(&sockets) == 0)
            return -EOPNOTSUPP; /* nothing that is left can be ended this way */
    }
}

int tcp_end_connections(void)
{
    int status = end_by_diag();
    bool lacking = status == -EPROTONOSUPPORT || status == -ENOENT || status == -EOPNOTSUPP;
    return lacking ? tcp_end_held_connections() : status;
}
