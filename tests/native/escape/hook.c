/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into a forkd-vmm of the tests' own, by --wrap and so without a trace in the real one's source: on
 * request each of its processes tries what it must not be able to do.
 */
#include "attempts.h"

#include "base/broker.h"
#include "base/channel.h"
#include "proc/control.h"
#include "snapshot/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define KNOWN_FILE "/etc/passwd"
#define MANY_DESCRIPTORS 64

static struct escape_request for_writer = {.attempt = ESCAPE_COUNT};

static int of_call(long result)
{
    return result < 0 ? -errno : (int)result;
}

static int find_folder(int kind)
{
    for (int fd = 3; fd < MANY_DESCRIPTORS; fd++) {
        struct stat info;
        if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode) && (fcntl(fd, F_GETFL) & O_PATH) == kind)
            return fd;
    }
    return -1;
}

/* A folder that this process was handed, for files, */
static int held_folder(void)
{
    return find_folder(0);
}

/* and one for sockets. */
static int held_folder_of_sockets(void)
{
    return find_folder(O_PATH);
}

/* From any folder of the host upwards. */
static int open_from_folder(void)
{
    return of_call(openat(held_folder(), "../../../../.." KNOWN_FILE, O_RDONLY));
}

static int connect_to_host(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = ESCAPE_SOCKET_PATH};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd < 0 ? -errno : of_call(connect(fd, (struct sockaddr *)&address, sizeof address));
}

static int read_sibling(pid_t sibling)
{
    char byte = 0;
    struct iovec here = {&byte, 1};
    struct iovec there = {(void *)(uintptr_t)held_folder, 1}; /* it is a fork of the same program */
    return of_call(syscall(SYS_process_vm_readv, sibling, &here, 1, &there, 1, 0));
}

static int open_memory(pid_t sibling)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", sibling);
    return of_call(open(path, O_RDWR));
}

static int execute(void)
{
    char *none[] = {NULL};
    return of_call(execve("/bin/true", none, none));
}

static int old_abi(void)
{
    long result = 20; /* getpid there */
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

static int clone_into(uint64_t namespaces)
{
    const struct clone_args arguments = {.flags = namespaces, .exit_signal = SIGCHLD};
    return of_call(syscall(SYS_clone3, &arguments, sizeof arguments));
}

static int of_map(const void *map)
{
    return map == MAP_FAILED ? -errno : 0;
}

static int make_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return of_call(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int handle_violations(void)
{
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        unsigned long mask;
    } ignore = {(void *)1, 0, NULL, 0};
    return of_call(syscall(SYS_rt_sigaction, SIGSYS, &ignore, NULL, 8));
}

/* As base/broker.c asks, and with more: our end of where the reply comes, and in *theirs, if that is wanted,
 * the broker's. */
static int ask_to_listen(const char *name, int *theirs)
{
    struct broker_request listen = {.operation = BROKER_LISTEN};
    int pair[2];
    snprintf(listen.name, sizeof listen.name, "%s", name);
    if (channel_pair(pair, NULL) < 0)
        return -1;
    const int fds[2] = {pair[1], held_folder_of_sockets()};
    channel_send(broker_fd(), 1000, &listen, sizeof listen, fds, 2, NULL);
    if (theirs == NULL)
        close(pair[1]);
    else
        *theirs = pair[1];
    return pair[0];
}

/* Whether there is a socket: what the broker replied. */
static bool got_listener(int channel)
{
    struct broker_reply reply = {.result = -1};
    size_t length = 0;
    int fd = -1;
    uint32_t fd_count = 1;
    return channel_receive(channel, 10000, &reply, sizeof reply, &length, &fd, &fd_count, NULL) == 1 &&
           fd_count == 1;
}

/* Twice: the first time it may read what it has freed, and the second time it does. */
static int keep_reply(void)
{
    broker_release();
    for (int i = 0; i < 2; i++) {
        char name[32];
        int theirs = -1;
        snprintf(name, sizeof name, "kept-%d", i);
        int ours = ask_to_listen(name, &theirs);
        got_listener(ours);
        send(ours, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        broker_find(held_folder(), "vmstate");
    }
    return 0;
}

static int listen_as_many(void)
{
    int count = 0;
    broker_release();
    for (int i = 0; i < HARM_MANY; i++) {
        char name[32];
        int told[2];
        snprintf(name, sizeof name, "many-%d", i);
        if (channel_pair(told, NULL) < 0 || fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL); /* so that the test leaves nothing behind */
            bool got = got_listener(ask_to_listen(name, NULL));
            send(told[1], &got, sizeof got, MSG_NOSIGNAL);
            for (;;)
                pause();
        }
        bool got = false;
        recv(told[0], &got, sizeof got, 0);
        count += got;
    }
    return count - 1;
}

/* More than a process may have descriptors. */
static int join_without_end(void)
{
    const struct broker_request join = {.operation = BROKER_JOIN};
    int pair[2];
    for (int i = 0; i < 100000 && channel_pair(pair, NULL) == 0; i++) {
        channel_send(broker_fd(), 1000, &join, sizeof join, &pair[1], 1, NULL);
        close(pair[1]);
        /* A channel whose other end is gone is none. */
        if (i < 1000)
            continue;
        struct pollfd polled = {.fd = pair[0], .events = POLLIN};
        broker_find(held_folder(), "vmstate");
        if (poll(&polled, 1, 0) == 1)
            return 0;
    }
    return 0;
}

/* All that it has, but what it answers on: a channel that is to be another's is not to be among them. */
static int shut_down_all(int channel)
{
    for (int fd = 0; fd < MANY_DESCRIPTORS; fd++) {
        if (fd != channel)
            shutdown(fd, SHUT_RDWR);
    }
    return 0;
}

static void lie(int channel, const struct escape_request *request)
{
    struct control_status message = {
        .header = {CONTROL_MAGIC, CONTROL_STATUS},
        .status = {.pid = request->sibling, .phase = FORKD_VM_READY, .start_time = 1}};
    memset(message.status.error.text, '\033', sizeof message.status.error.text);
    memset(message.status.error.object, 'A', sizeof message.status.error.object);
    message.status.error.code = 1;
    if (request->attempt == HARM_LIE_OF_PHASE)
        message.status.phase = message.status.end = 77;
    send(channel, &message, sizeof message, MSG_NOSIGNAL);
}

static int attempt(const struct escape_request *request, int channel)
{
    char byte = 0;
    pid_t sibling = request->sibling;
    switch (request->attempt) {
    case ESCAPE_OPEN:
        return of_call(open(KNOWN_FILE, O_RDONLY));
    case ESCAPE_OPEN_FROM_FOLDER:
        return open_from_folder();
    case ESCAPE_OPEN_MEMORY_OF_SIBLING:
        return open_memory(sibling);
    case ESCAPE_SOCKET:
        return of_call(socket(AF_INET, SOCK_STREAM, 0));
    case ESCAPE_CONNECT:
        return connect_to_host();
    case ESCAPE_PTRACE:
        return of_call(ptrace(PTRACE_SEIZE, sibling, NULL, NULL));
    case ESCAPE_KILL:
        return of_call(kill(sibling, SIGKILL));
    case ESCAPE_KILL_BY_THREAD:
        return of_call(syscall(SYS_tkill, sibling, SIGKILL));
    case ESCAPE_PIDFD:
        return of_call(syscall(SYS_pidfd_open, sibling, 0));
    case ESCAPE_READ_SIBLING:
        return read_sibling(sibling);
    case ESCAPE_MOUNT:
        return of_call(mount("none", "/", "tmpfs", 0, NULL));
    case ESCAPE_UNSHARE:
        return of_call(unshare(CLONE_NEWUSER | CLONE_NEWNS));
    case ESCAPE_CLONE_NEW_USER:
        return of_call(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
    case ESCAPE_CLONE3_NEW_USER:
        return clone_into(CLONE_NEWUSER);
    case ESCAPE_CLONE3_NEW_NET:
        return clone_into(CLONE_NEWNET);
    case ESCAPE_SETNS:
        return of_call(setns(held_folder(), 0));
    case ESCAPE_EXECVE:
        return execute();
    case ESCAPE_MAP_CODE:
        return of_map(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    case ESCAPE_MAKE_CODE:
        return make_code();
    case ESCAPE_OTHER_IOCTL:
        return of_call(ioctl(held_folder(), TUNSETIFF, NULL));
    case ESCAPE_SIGNAL_OWNER:
        return of_call(fcntl(0, F_SETOWN, sibling));
    case ESCAPE_SIGNAL_HANDLER:
        return handle_violations();
    case ESCAPE_SET_FLAGS:
        return of_call(fcntl(0, F_SETFL, O_APPEND));
    case ESCAPE_SET_OPTION:
        return of_call(setsockopt(0, SOL_SOCKET, SO_SNDBUF, &byte, sizeof byte));
    case ESCAPE_UNLINK:
        return of_call(unlink(ESCAPE_SOCKET_PATH));
    case ESCAPE_BPF:
        return of_call(syscall(SYS_bpf, 0, NULL, 0));
    case ESCAPE_IO_URING:
        return of_call(syscall(SYS_io_uring_setup, 1, NULL));
    case ESCAPE_USERFAULTFD:
        return of_call(syscall(SYS_userfaultfd, 0));
    case ESCAPE_MEMFD:
        return of_call(syscall(SYS_memfd_create, "x", 0)); /* with MFD_CLOEXEC alone it may */
    case ESCAPE_OLD_ABI:
        return old_abi();
    case ESCAPE_X32_ABI:
        return of_call(syscall(0x40000000 + SYS_getpid));
    case ESCAPE_BROKER_OPEN_ABOVE:
        return broker_open(held_folder(), "../../../../.." KNOWN_FILE, O_RDONLY, 0);
    case ESCAPE_BROKER_OPEN_ROOT:
        return broker_open(held_folder(), KNOWN_FILE, O_RDONLY, 0);
    case ESCAPE_BROKER_OPEN_OTHER:
        return broker_open(held_folder(), "other", O_RDWR | O_CREAT | O_EXCL, 0600);
    case ESCAPE_BROKER_UNLINK_OTHER:
        return broker_unlink(held_folder(), ESCAPE_VICTIM);
    case ESCAPE_BROKER_RENAME_OTHER:
        return broker_rename(held_folder(), ESCAPE_VICTIM, "vmstate");
    case ESCAPE_BROKER_OPEN_COMPLETE:
        return broker_open(held_folder(), "memory.bin", O_RDWR, 0);
    case ESCAPE_BROKER_REPLACE_COMPLETE:
        return broker_rename(held_folder(), "memory.bin", "vmstate");
    case ESCAPE_BROKER_CONNECT_ABOVE:
        return broker_connect(held_folder(), "../../../../.." ESCAPE_SOCKET_PATH);
    case ESCAPE_BROKER_CONNECT_AMONG_DISKS:
        return broker_connect(held_folder(), ESCAPE_SERVICE);
    case ESCAPE_BROKER_LISTEN_AMONG_DISKS:
        return broker_listen(held_folder(), "new");
    case ESCAPE_BROKER_KILL_SIBLING:
        return broker_kill(&sibling, 1);
    case HARM_READ_ERRORS:
        return of_call(read(STDERR_FILENO, &byte, 1));
    case HARM_EMPTY_REQUEST:
        return of_call(send(broker_fd(), "", 0, MSG_NOSIGNAL));
    case HARM_SHUTDOWN:
        return shut_down_all(channel);
    case HARM_KEPT_REPLY:
        return keep_reply();
    case HARM_MANY_LISTENERS:
        return listen_as_many();
    case HARM_MANY_CHANNELS:
        return join_without_end();
    default:
        return -EINVAL;
    }
}

static void answer(int channel, int result)
{
    const struct escape_reply reply = {ESCAPE_MAGIC, result};
    send(channel, &reply, sizeof reply, MSG_NOSIGNAL);
}

int __real_channel_receive(int channel, int timeout_ms, void *message, size_t length, size_t *received,
                           int *fds, uint32_t *fd_count, struct forkd_error *err);
int __wrap_channel_receive(int channel, int timeout_ms, void *message, size_t length, size_t *received,
                           int *fds, uint32_t *fd_count, struct forkd_error *err);

/* Every process but a writer and the broker hears of what it is to do on a channel. */
int __wrap_channel_receive(int channel, int timeout_ms, void *message, size_t length, size_t *received,
                           int *fds, uint32_t *fd_count, struct forkd_error *err)
{
    int got = __real_channel_receive(channel, timeout_ms, message, length, received, fds, fd_count, err);
    struct escape_request request;
    if (got <= 0 || *received != sizeof request)
        return got;
    memcpy(&request, message, sizeof request);
    if (request.magic != ESCAPE_MAGIC)
        return got;
    char name[32];
    snprintf(name, sizeof name, ESCAPE_FILE "%u", request.attempt);
    if (request.by == ESCAPE_BY_WRITER)
        for_writer = request;
    if (request.attempt == HARM_LIE || request.attempt == HARM_LIE_OF_PHASE)
        lie(channel, &request);
    else
        answer(channel, request.by == ESCAPE_BY_ITSELF   ? attempt(&request, channel)
                        : request.by == ESCAPE_BY_BROKER ? broker_find(held_folder(), name)
                                                         : 0);
    return -EAGAIN;
}

int __real_snapshot_write(const struct snapshot_source *source, int directory, struct forkd_error *err);
int __wrap_snapshot_write(const struct snapshot_source *source, int directory, struct forkd_error *err);

/* What it comes through with is told as what became of the branch. */
int __wrap_snapshot_write(const struct snapshot_source *source, int directory, struct forkd_error *err)
{
    if (for_writer.attempt == ESCAPE_COUNT)
        return __real_snapshot_write(source, directory, err);
    int result = attempt(&for_writer, -1);
    return error_set(err, result < 0 ? EACCES : EEXIST, "escape", result < 0 ? "refused" : "escaped", "%d",
                     result);
}

bool __real_snapshot_is_file(const char *name);
bool __wrap_snapshot_is_file(const char *name);

/* Asked in the broker alone. */
bool __wrap_snapshot_is_file(const char *name)
{
    if (strncmp(name, ESCAPE_FILE, sizeof ESCAPE_FILE - 1) != 0 || name[sizeof ESCAPE_FILE - 1] > '9')
        return __real_snapshot_is_file(name);
    const struct escape_request request = {.attempt = (uint32_t)atoi(name + sizeof ESCAPE_FILE - 1)};
    return attempt(&request, -1) >= 0; /* then it looks for the file, which is not there */
}
