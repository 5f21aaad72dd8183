/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define MAX_INSTRUCTIONS 1024
/* Calls of the x32 ABI come with the same architecture and this bit. */
#define X32_BIT 0x40000000u
#define LINE_WIDTH 90 /* then a line of values ends */

const struct filter_value filter_executable[] = {FILTER_VALUE(PROT_EXEC), FILTER_END_OF_VALUES};

struct program {
    struct sock_filter code[MAX_INSTRUCTIONS];
    uint16_t length;
    bool full;
};

static void emit(struct program *program, struct sock_filter instruction)
{
    if (program->length == MAX_INSTRUCTIONS)
        program->full = true;
    else
        program->code[program->length++] = instruction;
}

static void load(struct program *program, size_t offset)
{
    emit(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* Go on with the next instruction if the loaded word compares so with `value`, and behind it otherwise. */
static void next_if(struct program *program, uint16_t comparison, uint32_t value)
{
    emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | comparison | BPF_K, value, 0, 1));
}

static void give(struct program *program, uint32_t action)
{
    emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* Ends with an answer: who comes here has made this call. */
static void emit_check(struct program *program, const struct filter_call *call)
{
    if (call->check != FILTER_ANY)
        load(program,
             offsetof(struct seccomp_data, args) + call->argument * sizeof(uint64_t)); /* little-endian */
    bool listed_is_good = call->check == FILTER_ONE_OF;
    for (const struct filter_value *value = call->values; call->check != FILTER_ANY && value->name != NULL;
         value++) {
        next_if(program, call->check == FILTER_NO_BITS ? BPF_JSET : BPF_JEQ, value->value);
        give(program, listed_is_good ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRAP);
    }
    give(program, listed_is_good ? SECCOMP_RET_TRAP : SECCOMP_RET_ALLOW);
}

static void emit_calls(struct program *program, const struct filter_call *calls)
{
    for (const struct filter_call *call = calls; call->name != NULL; call++) {
        uint16_t jump = program->length;
        next_if(program, BPF_JEQ, call->number);
        emit_check(program, call);
        /* Over all of the check. A conditional jump goes no further than 255. */
        size_t distance = program->length - (size_t)jump - 1;
        if (distance > UINT8_MAX)
            program->full = true;
        program->code[jump].jf = (uint8_t)distance;
    }
}

/*
 * In the order of the table: what is made most stands first. That matters for calls whose arguments are
 * looked at; for the others the kernel keeps a bitmap (from Linux 5.11 on), and no instruction runs.
 */
static void build(struct program *program, const struct filter_role *role)
{
    load(program, offsetof(struct seccomp_data, arch));
    emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
    give(program, SECCOMP_RET_KILL_PROCESS);
    load(program, offsetof(struct seccomp_data, nr));
    next_if(program, BPF_JGE, X32_BIT);
    give(program, SECCOMP_RET_KILL_PROCESS);
    emit_calls(program, role->calls);
    if (role->of_sanitizers != NULL)
        emit_calls(program, role->of_sanitizers);
    give(program, SECCOMP_RET_TRAP);
}

static void (*tell_violation)(const struct forkd_error *);
static const char *own_role;

/* What is in none of the tables, and would be tried: for what is told of a violation. */
#define NAME(name) {SYS_##name, #name}
static const struct filter_value other_names[] = {
    NAME(open),
    NAME(ptrace),
    NAME(socket),
    NAME(connect),
    NAME(kill),
    NAME(tgkill),
    NAME(process_vm_readv),
    NAME(process_vm_writev),
    NAME(mount),
    NAME(unshare),
    NAME(setns),
    NAME(vfork),
    NAME(execve),
    NAME(execveat),
    NAME(bpf),
    NAME(io_uring_setup),
    NAME(userfaultfd),
    NAME(memfd_create),
    NAME(perf_event_open),
    NAME(keyctl),
    NAME(init_module),
    NAME(chmod),
    NAME(chown),
    NAME(rename),
    NAME(symlink),
    {0, NULL},
};

/* Where all names are that there are: a call of another role has one, too. */
static const char *name_of(uint32_t number)
{
    for (const struct filter_role *role = filter_roles; role->name != NULL; role++) {
        for (const struct filter_call *call = role->calls; call->name != NULL; call++) {
            if (call->number == number)
                return call->name;
        }
    }
    for (const struct filter_value *other = other_names; other->name != NULL; other++) {
        if (other->value == number)
            return other->name;
    }
    return "system call";
}

/* As far as it goes: nothing else is allowed here. */
static void say(const char *text)
{
    ssize_t done = write(STDERR_FILENO, text, strlen(text));
    (void)done;
}

/* The call has not been made, and is not. */
static void on_violation(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    const ucontext_t *at = context;
    char call[128];
    const char *name = name_of((uint32_t)info->si_syscall);
    snprintf(call, sizeof call, "%s (number %d, arguments 0x%llx, 0x%llx)", name, info->si_syscall,
             (unsigned long long)at->uc_mcontext.gregs[REG_RDI],
             (unsigned long long)at->uc_mcontext.gregs[REG_RSI]);
    struct forkd_error error;
    error_set(&error, EPERM, "seccomp", own_role,
              "it has called %s, which such a process may not, and is ended: what it works on, a guest or an "
              "image, has taken it over, or forkd has a fault. Please report it",
              call);
    say(error.text);
    say("\n");
    if (tell_violation != NULL)
        tell_violation(&error);
    _exit(128 + SIGSYS);
}

int filter_install(const struct filter_role *role, void (*on_violation_)(const struct forkd_error *),
                   struct forkd_error *err)
{
    /* Not static: variables that children write to would lie further apart, on more pages. */
    struct program *program =
        mmap(NULL, sizeof *program, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (program == MAP_FAILED)
        return error_set(err, ENOMEM, "make filter", role->name, NULL);
    build(program, role);
    if (program->full) {
        munmap(program, sizeof *program);
        return error_set(err, E2BIG, "make filter", role->name, NULL);
    }
    tell_violation = on_violation_;
    own_role = role->who;
    struct sigaction action = {.sa_sigaction = on_violation, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    sigaction(SIGSYS, &action, NULL);
    struct sock_fprog prog = {.len = program->length, .filter = program->code};
    int code = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? errno : 0;
    munmap(program, sizeof *program); /* which all roles may */
    if (code != 0)
        return error_set(
            err, code, "seccomp", role->name,
            "forkd runs guests only where the kernel has seccomp filters (CONFIG_SECCOMP_FILTER), and "
            "nothing else, as a container's own profile, forbids them");
    return 0;
}

const struct filter_role *filter_role(const char *name)
{
    const struct filter_role *role = filter_roles;
    while (strcmp(role->name, name) != 0)
        role++;
    return role;
}

static void print_values(FILE *out, const struct filter_call *call)
{
    static const char *const words[] = {
        [FILTER_ONE_OF] = "is one of", [FILTER_NONE_OF] = "is none of", [FILTER_NO_BITS] = "has no"};
    if (call->check == FILTER_ANY)
        return;
    int column = fprintf(out, "    argument %u %s:", call->argument + 1, words[call->check]);
    for (const struct filter_value *value = call->values; value->name != NULL; value++) {
        if (column > LINE_WIDTH)
            column = fprintf(out, "\n     ") - 1;
        column += fprintf(out, " %s", value->name);
    }
    fprintf(out, "\n");
}

void filter_print(FILE *out, const struct filter_role *roles)
{
    for (const struct filter_role *role = roles; role->name != NULL; role++) {
        fprintf(out, "%s: %s\n", role->name, role->who);
        for (const struct filter_call *call = role->calls; call->name != NULL; call++) {
            fprintf(out, "  %-18s %s\n", call->name, call->reason);
            print_values(out, call);
        }
    }
}
