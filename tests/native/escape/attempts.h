/* SPDX-License-Identifier: Apache-2.0 */
/* What a process that a guest has taken over would try: asked for by the test, done by the hook. */
#ifndef FORKD_TESTS_ESCAPE_ATTEMPTS_H
#define FORKD_TESTS_ESCAPE_ATTEMPTS_H

#include <stdint.h>

#define ESCAPE_MAGIC 0x45534350u
/* What the hook is asked for in a broker: a file of this name and the number of the attempt. */
#define ESCAPE_FILE "escape-"
/* A socket of the host's that somebody listens at, and a file in a folder that processes are handed. */
#define ESCAPE_SOCKET_PATH "/tmp/forkd-escape.sock"
#define ESCAPE_VICTIM "victim"
#define ESCAPE_SERVICE "service" /* that a socket in the folder for disks belongs to */

/* The name is that of the system call, as the refusal has it. */
#define ESCAPE_ATTEMPTS(X)                                                                                   \
    X(OPEN, "open")                                                                                          \
    X(OPEN_FROM_FOLDER, "openat")                                                                            \
    X(OPEN_MEMORY_OF_SIBLING, "open")                                                                        \
    X(SOCKET, "socket")                                                                                      \
    X(CONNECT, "socket")                                                                                     \
    X(PTRACE, "ptrace")                                                                                      \
    X(KILL, "kill")                                                                                          \
    X(KILL_BY_THREAD, "tkill")                                                                               \
    X(PIDFD, "pidfd_open")                                                                                   \
    X(READ_SIBLING, "process_vm_readv")                                                                      \
    X(MOUNT, "mount")                                                                                        \
    X(UNSHARE, "unshare")                                                                                    \
    X(CLONE_NEW_USER, "clone")                                                                               \
    X(CLONE3_NEW_USER, "clone3")                                                                             \
    X(CLONE3_NEW_NET, "clone3")                                                                              \
    X(SETNS, "setns")                                                                                        \
    X(EXECVE, "execve")                                                                                      \
    X(MAP_CODE, "mmap")                                                                                      \
    X(MAKE_CODE, "mprotect")                                                                                 \
    X(OTHER_IOCTL, "ioctl")                                                                                  \
    X(SIGNAL_OWNER, "fcntl")                                                                                 \
    X(SIGNAL_HANDLER, "rt_sigaction")                                                                        \
    X(UNLINK, "unlink")                                                                                      \
    X(SET_FLAGS, "fcntl")                                                                                    \
    X(SET_OPTION, "setsockopt")                                                                              \
    X(BPF, "bpf")                                                                                            \
    X(IO_URING, "io_uring_setup")                                                                            \
    X(USERFAULTFD, "userfaultfd")                                                                            \
    X(MEMFD, "memfd_create")                                                                                 \
    X(OLD_ABI, "int 0x80")                                                                                   \
    X(X32_ABI, "x32")                                                                                        \
    X(BROKER_OPEN_ABOVE, "broker")                                                                           \
    X(BROKER_OPEN_ROOT, "broker")                                                                            \
    X(BROKER_OPEN_OTHER, "broker")                                                                           \
    X(BROKER_UNLINK_OTHER, "broker")                                                                         \
    X(BROKER_RENAME_OTHER, "broker")                                                                         \
    X(BROKER_OPEN_COMPLETE, "broker")                                                                        \
    X(BROKER_REPLACE_COMPLETE, "broker")                                                                     \
    X(BROKER_CONNECT_ABOVE, "broker")                                                                        \
    X(BROKER_CONNECT_AMONG_DISKS, "broker")                                                                  \
    X(BROKER_LISTEN_AMONG_DISKS, "broker")                                                                   \
    X(BROKER_KILL_SIBLING, "broker")

enum escape_attempt {
#define X(name, call) ESCAPE_##name,
    ESCAPE_ATTEMPTS(X)
#undef X
        ESCAPE_COUNT,

    /* What is no escape, and must be nobody's harm but its own: */
    HARM_READ_ERRORS = ESCAPE_COUNT,
    HARM_EMPTY_REQUEST,  /* to the broker: a message of no bytes; */
    HARM_SHUTDOWN,       /* the end of all sockets that it has; */
    HARM_KEPT_REPLY,     /* a socket for a reply that it goes on to hold, and to write to; */
    HARM_MANY_LISTENERS, /* a listener for each process that it forks: how many more than one there are; */
    HARM_MANY_CHANNELS,  /* and channels without end */
    HARM_LIE,            /* to the library: that it is the sibling, in words that do not end */
    HARM_LIE_OF_PHASE,   /* and in a phase that there is not. To these two there is no answer. */
};
#define HARM_MANY 64

enum escape_by {
    ESCAPE_BY_ITSELF,
    ESCAPE_BY_WRITER, /* not now, but by the next process that writes a branch down */
    ESCAPE_BY_BROKER, /* -EPIPE: it has died of it; -EPERM: it was refused; -ENOENT: it came through */
};

/* To a process, on its channel. */
struct escape_request {
    uint32_t magic;
    uint32_t attempt;
    int32_t sibling; /* a process that is to be left alone */
    uint32_t by;     /* enum escape_by */
};

/* From who came through it: a negative errno when it was refused and lives. */
struct escape_reply {
    uint32_t magic;
    int32_t result;
};

#endif
