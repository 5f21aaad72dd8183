/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the library and the processes say to each other. Both come out of one build, so structs travel as they
 * are; the magic, which holds the version, refuses everything else.
 *
 * A channel belongs to one process. The library opens with BOOT or SERVE and gets a REPLY. A fork server
 * takes FORK, with the new child's channel as the first descriptor; the child, or what became of it, is heard
 * on that channel. For every child that it forks in advance it sends PARKED, with our end of that child's
 * channel: a FORK sent there (without a channel) reaches the child with no stop at the server, which is told
 * afterwards with TAKEN. A detached server keeps its parked children to itself, and passes FORK on to them. A
 * server says SERVER_STATUS when it is asked with the same, to who attaches, and when its files are written.
 * A VM process says STATUS when its phase changes, to who attaches, and when it is asked with the same; it
 * takes SNAPSHOT, BRANCH, RESET, FREEZE and CONNECT, each answered by a REPLY, in order.
 *
 * A process whose owner's end is closed ends; unless it is detached, with a listening socket at which it
 * takes any number of further channels.
 */
#ifndef FORKD_PROC_CONTROL_H
#define FORKD_PROC_CONTROL_H

#include "base/error.h"

#include <stdint.h>

#define CONTROL_MAGIC 0x46524b02u
/* forkd-vmm finds its channel here. */
#define CONTROL_FD 3

#define CONTROL_PATH_SIZE 108 /* sizeof sockaddr_un.sun_path */
#define CONTROL_COMMAND_LINE_SIZE 2048
#define CONTROL_HOSTNAME_SIZE 64
#define CONTROL_NAME_SIZE 192 /* sizeof forkd_error.object */

enum control_type {
    CONTROL_BOOT = 1,
    CONTROL_SERVE,
    CONTROL_FORK,
    CONTROL_SNAPSHOT,
    CONTROL_CONNECT,
    CONTROL_STATUS,
    CONTROL_REPLY,
    CONTROL_PARKED,
    CONTROL_TAKEN,
    CONTROL_BRANCH,
    CONTROL_SERVER_STATUS,
    CONTROL_RESET,
    CONTROL_FREEZE,
};

struct control_header {
    uint32_t magic;
    uint32_t type;
};

/*
 * A process uses no path (proc/confine.h). So a tap comes open, and with each name of a socket the folder
 * that it is in.
 */

/* A cgroup comes as its cgroup.procs, open for writing; and to be born in, as its folder before that. */

/* Descriptors: kernel, scratch folder, then as said: initrd, console, tap, the folder of vsock_path, cgroup;
 * then one for each disk. */
struct control_boot {
    struct control_header header;
    uint64_t memory_bytes;
    uint32_t vcpu_count;
    uint32_t disk_count;
    uint32_t disk_modes[FORKD_MAX_DISKS];
    uint32_t flags;        /* FORKD_NO_AGENT */
    uint32_t cpu_template; /* enum forkd_cpu_template */
    struct forkd_limits limits;
    uint8_t has_initrd;
    uint8_t has_console;
    uint8_t has_net;
    uint8_t has_tap;
    uint8_t has_vsock;
    uint8_t has_cgroup;
    uint8_t mac[6];
    char vsock_path[CONTROL_PATH_SIZE];
    char command_line[CONTROL_COMMAND_LINE_SIZE];
};

/* Descriptors: memory.bin, vmstate, scratch folder; as said, the folder of a listening socket and that
 * socket, and the working set; then for each disk its base and its layers. */
struct control_serve {
    struct control_header header;
    uint32_t disk_count;
    uint32_t parked_count;
    uint32_t idle_timeout_ms;
    uint8_t has_listener;
    uint8_t has_working_set;
    uint32_t disk_modes[FORKD_MAX_DISKS];
    uint32_t disk_layer_counts[FORKD_MAX_DISKS];
    char memory_name[CONTROL_NAME_SIZE]; /* of memory.bin, for people */
};

/* Descriptors: to the server, the child's channel; then as said: console, tap, the folder of vsock_path, both
 * of a cgroup, the folder of a listening socket and that socket. One with a cgroup is not for a parked child,
 * which was born elsewhere. */
#define CONTROL_FORK_MAX_FDS 8
struct control_fork {
    struct control_header header;
    uint64_t started_us; /* CLOCK_MONOTONIC of the caller, microseconds */
    uint32_t flags;
    uint32_t ready_timeout_ms;
    struct forkd_limits limits;
    uint8_t has_console;
    uint8_t has_tap;
    uint8_t has_vsock;
    uint8_t has_cgroup;
    uint8_t has_listener;
    char hostname[CONTROL_HOSTNAME_SIZE];
    char vsock_path[CONTROL_PATH_SIZE];
};

/* Descriptor: the owner's end of the parked child's channel. */
struct control_parked {
    struct control_header header;
    int32_t pid;
};

/* A parked child has been given its FORK. */
struct control_taken {
    struct control_header header;
    int32_t pid;
    uint8_t detached;
};

/* Descriptor: the folder to write to. */
struct control_snapshot {
    struct control_header header;
};

/* Descriptors: the branch's channel, the folder to write to; as said, the folder of a listening socket and
 * that socket, and a cgroup. */
#define CONTROL_BRANCH_MAX_FDS 5
struct control_branch {
    struct control_header header;
    uint32_t flags; /* FORKD_BRANCH_LAYER, or FORKD_BRANCH_UNWRITTEN */
    uint32_t way;   /* enum forkd_branch_way */
    uint64_t room;  /* bytes that its copies of memory may take */
    uint8_t has_listener;
    uint8_t has_cgroup;
};

struct control_reset {
    struct control_header header;
    uint64_t started_us; /* as in control_fork, as are the next two */
    uint32_t ready_timeout_ms;
    char hostname[CONTROL_HOSTNAME_SIZE];
};

struct control_freeze {
    struct control_header header;
    uint32_t after_ms;
};

/* Descriptor: a connected stream socket. */
struct control_connect {
    struct control_header header;
    uint32_t port;
};

/* To a VM process: the header alone. */
struct control_status {
    struct control_header header;
    struct forkd_vm_status status;
};

struct control_reply {
    struct control_header header;
    struct forkd_error error;          /* code 0: done */
    struct forkd_branch_result branch; /* to BRANCH */
};

/* To the server: the header alone. */
struct control_server_status {
    struct control_header header;
    struct forkd_server_status status;
};

union control_message {
    struct control_header header;
    struct control_boot boot;
    struct control_serve serve;
    struct control_fork fork;
    struct control_parked parked;
    struct control_taken taken;
    struct control_snapshot snapshot;
    struct control_branch branch;
    struct control_server_status server_status;
    struct control_connect connect;
    struct control_reset reset;
    struct control_freeze freeze;
    struct control_status status;
    struct control_reply reply;
};

#endif
