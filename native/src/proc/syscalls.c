/* SPDX-License-Identifier: Apache-2.0 */
/* Which system calls a process of forkd's makes. forkd-vmm --syscalls prints this; docs/isolation.md has it.
 */
#include "machine/kvm.h"
#include "proc/filter.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define CALL FILTER_CALL
#define CALL_WITH FILTER_CALL_WITH
#define VALUE FILTER_VALUE
#define END FILTER_END_OF_VALUES
#define END_OF_CALLS FILTER_END_OF_CALLS

/* What is asked most comes first. */
static const struct filter_value requests[] = {
    VALUE(KVM_RUN),
    VALUE(KVM_IRQ_LINE),
    /* a child's way to its first KVM_RUN */
    VALUE(KVM_CREATE_VM),
    VALUE(KVM_SET_USER_MEMORY_REGION),
    VALUE(KVM_SET_TSS_ADDR),
    VALUE(KVM_SET_IDENTITY_MAP_ADDR),
    VALUE(KVM_CREATE_IRQCHIP),
    VALUE(KVM_CREATE_VCPU),
    VALUE(KVM_SET_CPUID2),
    VALUE(KVM_SET_IRQCHIP),
    VALUE(KVM_SET_MP_STATE),
    VALUE(KVM_SET_REGS),
    VALUE(KVM_SET_SREGS),
    VALUE(KVM_SET_XSAVE),
    VALUE(KVM_SET_XCRS),
    VALUE(KVM_SET_DEBUGREGS),
    VALUE(KVM_SET_MSRS),
    VALUE(KVM_SET_LAPIC),
    VALUE(KVM_SET_VCPU_EVENTS),
    VALUE(KVM_SET_TSC_KHZ),
    VALUE(KVM_SET_CLOCK),
    VALUE(KVM_SET_DEVICE_ATTR),
    VALUE(KVM_KVMCLOCK_CTRL),
    VALUE(KVM_PRE_FAULT_MEMORY),
    /* saving */
    VALUE(KVM_GET_IRQCHIP),
    VALUE(KVM_GET_CLOCK),
    VALUE(KVM_GET_MP_STATE),
    VALUE(KVM_GET_REGS),
    VALUE(KVM_GET_SREGS),
    VALUE(KVM_GET_XSAVE),
    VALUE(KVM_GET_XSAVE2),
    VALUE(KVM_GET_XCRS),
    VALUE(KVM_GET_DEBUGREGS),
    VALUE(KVM_GET_MSRS),
    VALUE(KVM_GET_LAPIC),
    VALUE(KVM_GET_VCPU_EVENTS),
    VALUE(KVM_GET_TSC_KHZ),
    VALUE(KVM_GET_DEVICE_ATTR),
    VALUE(KVM_GET_CPUID2),
    VALUE(KVM_GET_DIRTY_LOG),
    /* what the host can do */
    VALUE(KVM_GET_API_VERSION),
    VALUE(KVM_CHECK_EXTENSION),
    VALUE(KVM_GET_VCPU_MMAP_SIZE),
    VALUE(KVM_GET_SUPPORTED_CPUID),
    VALUE(KVM_GET_MSR_INDEX_LIST),
    /* a tap that came open, and the size of a block device */
    VALUE(TUNSETOFFLOAD),
    VALUE(TUNSETVNETHDRSZ),
    VALUE(BLKGETSIZE64),
    END,
};

static const struct filter_value new_namespaces[] = {
    VALUE(CLONE_NEWUSER), VALUE(CLONE_NEWNS),  VALUE(CLONE_NEWPID),    VALUE(CLONE_NEWNET),
    VALUE(CLONE_NEWIPC),  VALUE(CLONE_NEWUTS), VALUE(CLONE_NEWCGROUP), END,
};
static const struct filter_value options[] = {VALUE(SO_PASSCRED), END};
static const struct filter_value unix_sockets[] = {VALUE(AF_UNIX), END};
static const struct filter_value fcntls[] = {
    VALUE(F_GETFL), VALUE(F_GETFD), VALUE(F_SETFD), VALUE(F_DUPFD_CLOEXEC), VALUE(F_SETLK), END,
};
static const struct filter_value prctls[] = {
    VALUE(PR_SET_NAME),
    VALUE(PR_SET_PDEATHSIG),
    VALUE(PR_SET_DUMPABLE),
    END,
};
static const struct filter_value nothing_new[] = {{0, "NULL"}, END};
static const struct filter_value violations[] = {VALUE(SIGSYS), END};
static const struct filter_value memory_files[] = {VALUE(MFD_CLOEXEC), END};
static const struct filter_value kicks[] = {VALUE(SIGURG), END};
static const struct filter_value kills[] = {VALUE(SIGKILL), END};

/*
 * One table for fork servers, VMs, twins and writers: each of them may be a fork of one that a guest has
 * taken over, and a filter is inherited. A server's children and a twin's are its own to fork, so it cannot
 * have less than they, nor they less than it.
 */
static const struct filter_call monitor_calls[] = {
    CALL_WITH(ioctl, 1, FILTER_ONE_OF, requests, "KVM, and the few requests of devices"),
    CALL(futex, "the machine's lock"),
    CALL(epoll_pwait, "the event loop"),
    CALL(read, "timers, events, taps"),
    CALL(write, "the same; the console log"),
    CALL(readv, "taps"),
    CALL(writev, "taps"),
    CALL(recvmsg, "requests, with the descriptors that belong to them"),
    CALL(sendmsg, "replies; what the guest sends on vsock"),
    CALL(recvfrom, "what comes for the guest on vsock"),
    CALL(sendto, "the guest agent's identity"),
    CALL(poll, "a server's loop; whether a peer is gone"),
    CALL(preadv, "disks"),
    CALL(preadv2, "disks, as far as the host has them in memory"),
    CALL(pwritev, "disks"),
    CALL(pread64, "disks, layers, vmstate, pagemap"),
    CALL(pwrite64, "disks; a snapshot's files"),
    CALL(copy_file_range, "a snapshot's files, from what they are over"),
    CALL(fallocate, "the guest discards blocks"),
    CALL(fdatasync, "the guest flushes"),
    CALL(fsync, "a snapshot's folder"),
    CALL(ftruncate, "the size of a disk's top, and of a snapshot's files"),
    CALL(lseek, "where files have holes"),
    CALL(fstat, "sizes of files"),
    CALL(fadvise64, "the working set is read ahead"),
    CALL(close, "descriptors"),
    CALL(close_range, "a twin lets go of what is its source's"),
    CALL(
        dup2,
        "a detached process lets go of its starter's standard error; each has its own channel to the broker"),
    CALL_WITH(fcntl, 1, FILTER_ONE_OF, fcntls, "descriptors' flags; the lock on the working set"),
    CALL(accept4, "who attaches to a detached process, and clients of vsock"),
    CALL(shutdown, "half-closed connections; peers that do not read"),
    CALL_WITH(socketpair, 0, FILTER_ONE_OF, unix_sockets,
              "channels to the broker, and where its replies come; the agent's streams"),
    CALL_WITH(setsockopt, 2, FILTER_ONE_OF, options, "the broker is told who asks"),
    CALL(epoll_create1, "a VM's event loop"),
    CALL(epoll_ctl, "what it watches"),
    CALL(eventfd2, "its wake-up"),
    CALL(timerfd_create, "a child's deadline; when a throttled device goes on; whether a guest is idle"),
    CALL(timerfd_settime, "the same"),
    CALL(setitimer, "whether a vCPU gets on"),
    CALL(signalfd4, "a server hears of its children's ends"),
    CALL_WITH(mmap, 2, FILTER_NO_BITS, filter_executable, "memory, and files as memory; never code"),
    CALL_WITH(mprotect, 2, FILTER_NO_BITS, filter_executable, "guards of threads' stacks; never code"),
    CALL(munmap, "memory"),
    CALL(mremap, "memory"),
    CALL(madvise, "memory"),
    CALL(brk, "memory"),
    CALL_WITH(memfd_create, 1, FILTER_ONE_OF, memory_files, "what a branch copies while its source runs"),
    CALL_WITH(clone, 0, FILTER_NO_BITS, new_namespaces, "threads of vCPUs, and of the event loop"),
    CALL(fork, "children, twins and writers"),
    CALL(clone3, "children in a cgroup; the root that it has keeps it from new namespaces"),
    CALL(wait4, "a server's children that have ended"),
    CALL(exit, "the end of a thread"),
    CALL(exit_group, "the end of a process"),
    CALL(pause, "the first thread, while another ends the process"),
    CALL_WITH(tkill, 1, FILTER_ONE_OF, kicks,
              "a vCPU is to leave the guest; the signal does nothing to others"),
    CALL_WITH(rt_sigaction, 0, FILTER_NONE_OF, violations, "handlers; not that of what is forbidden"),
    CALL(rt_sigprocmask, "signals"),
    CALL(rt_sigreturn, "signals"),
    CALL(restart_syscall, "signals"),
    CALL(set_tid_address, "the C library, in threads and after fork"),
    CALL(getpid, "its own number"),
    CALL(geteuid, "whether it is a sandbox's user already"),
    CALL(getppid, "whether the server is still there"),
    CALL(gettid, "its own number"),
    CALL_WITH(prctl, 0, FILTER_ONE_OF, prctls, "names; to end with the server; pagemap"),
    CALL_WITH(prlimit64, 2, FILTER_ONE_OF, nothing_new, "how many descriptors there may be"),
    CALL(sysinfo, "how much memory the host has"),
    CALL(getrandom, "the guest's entropy and identity"),
    CALL(clock_gettime, "time, where the vDSO has none"),
    CALL(setresuid, "a user of its own, when started as root; afterwards the privilege is gone"),
    END_OF_CALLS,
};

static const struct filter_call broker_calls[] = {
    CALL(poll, "requests, and processes that have ended"),
    CALL(recvmsg, "requests, with the descriptors that they are about"),
    CALL(sendmsg, "replies"),
    CALL(close, "descriptors"),
    CALL(openat, "a disk's nameless top; a snapshot's files; /proc of who asks"),
    CALL(unlinkat, "a snapshot that failed"),
    CALL(renameat, "a snapshot that is complete"),
    CALL(newfstatat, "whether a snapshot is there"),
    CALL(read, "whose child a process is"),
    CALL(fchdir, "to the folder of a socket: addresses are not relative to a descriptor"),
    CALL_WITH(socket, 0, FILTER_ONE_OF, unix_sockets, "a VM's vsock socket, and connections of its guest"),
    CALL(bind, "the same"),
    CALL(listen, "the same"),
    CALL(connect, "the same; whether a name is still a socket's own"),
    CALL(accept4, "whether a name is still a socket's own"),
    CALL(getsockname, "the name of a socket"),
    CALL(getsockopt, "its kind, and who is at the other end"),
    CALL_WITH(setsockopt, 2, FILTER_ONE_OF, options, "the kernel is to say who asks"),
    CALL(lstat, "a socket's file"),
    CALL(unlink, "a socket's file"),
    CALL_WITH(fcntl, 1, FILTER_ONE_OF, fcntls, "descriptors' flags"),
    CALL(epoll_create1, "processes that may end"),
    CALL(epoll_ctl, "the same"),
    CALL(epoll_pwait, "the same"),
    CALL(pidfd_open, "a server's child that is to end"),
    CALL_WITH(pidfd_send_signal, 1, FILTER_ONE_OF, kills, "the same"),
    CALL(getpid, "its own number"),
    CALL_WITH(mmap, 2, FILTER_NO_BITS, filter_executable, "memory"),
    CALL(munmap, "memory"),
    CALL(brk, "memory"),
    CALL(dup2, "descriptors have run out"),
    CALL(exit_group, "the end"),
    CALL(rt_sigreturn, "signals"),
    CALL(restart_syscall, "signals"),
    CALL(write, "standard error"),
    END_OF_CALLS,
};

#ifdef FORKD_SANITIZE
/* A sanitizer's run time, and glibc instead of musl: not in what is shipped, and not in what is printed. */
static const struct filter_call of_sanitizers[] = {
    CALL(openat, "sanitizer: /proc/self/maps for a report"),
    CALL(readlink, "sanitizer"),
    CALL(clone3, "glibc"),
    CALL(set_robust_list, "glibc"),
    CALL(rseq, "glibc"),
    CALL(newfstatat, "glibc"),
    CALL(epoll_wait, "glibc"),
    CALL_WITH(tgkill, 2, FILTER_ONE_OF, kicks, "glibc: tkill"),
    CALL(sigaltstack, "sanitizer"),
    CALL(sched_getaffinity, "sanitizer"),
    CALL(getdents64, "sanitizer"),
    CALL(uname, "sanitizer"),
    CALL(sendmmsg, "glibc"),
    CALL(process_vm_readv, "sanitizer: looks at memory for a report"),
    CALL(pipe2, "sanitizer: whether memory can be read"),
    CALL(getrusage, "sanitizer"),
    CALL(getuid, "sanitizer"),
    CALL(nanosleep, "sanitizer"),
    CALL(clock_nanosleep, "sanitizer"),
    CALL(sched_yield, "sanitizer"),
    END_OF_CALLS,
};

static const struct filter_call of_sanitized_broker[] = {
    CALL(mprotect, "sanitizer"), CALL(madvise, "sanitizer"),  CALL(epoll_wait, "glibc"),
    CALL(fstat, "glibc"),        CALL(futex, "sanitizer"),    CALL(sigaltstack, "sanitizer"),
    CALL(gettid, "sanitizer"),   CALL(readlink, "sanitizer"), END_OF_CALLS,
};
#define SANITIZED(calls) calls
#else
#define SANITIZED(calls) NULL
#endif

const struct filter_role filter_roles[] = {
    {"monitor", "a fork server, a VM, a branch's twin or its writer", monitor_calls,
     SANITIZED(of_sanitizers)},
    {"broker", "the process that opens what the others may not", broker_calls,
     SANITIZED(of_sanitized_broker)},
    {NULL, NULL, NULL, NULL},
};
