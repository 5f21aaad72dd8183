/* SPDX-License-Identifier: Apache-2.0 */
/* seccomp(2) filters out of tables: what a process of a role may ask the kernel for, and why. */
#ifndef FORKD_PROC_FILTER_H
#define FORKD_PROC_FILTER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A number with its name. */
struct filter_value {
    uint32_t value;
    const char *name;
};

/* What an argument has to be. The kernel takes the lower 32 bits of all that are looked at here. */
enum filter_check {
    FILTER_ANY = 0, /* whatever it is */
    FILTER_ONE_OF,  /* one of the values */
    FILTER_NONE_OF, /* none of the values */
    FILTER_NO_BITS, /* has none of the bits of the values */
};

/* A system call that is allowed. A table ends with one without a name. */
struct filter_call {
    uint32_t number;
    const char *name;
    const char *reason;
    enum filter_check check;
    uint32_t argument;                 /* the one that is looked at, from 0 */
    const struct filter_value *values; /* end with one without a name */
};

/* For tables; of a value and of a call, the name is its own. */
#define FILTER_VALUE(value) {(uint32_t)(value), #value}
#define FILTER_END_OF_VALUES {0, NULL}
#define FILTER_CALL(name, reason) {SYS_##name, #name, reason, FILTER_ANY, 0, NULL}
#define FILTER_CALL_WITH(name, argument, check, values, reason)                                              \
    {SYS_##name, #name, reason, check, argument, values}
#define FILTER_END_OF_CALLS {0, NULL, NULL, FILTER_ANY, 0, NULL}

/* Of mmap and mprotect: memory that no role of any program gets. */
extern const struct filter_value filter_executable[];

/* A kind of process. */
struct filter_role {
    const char *name;
    const char *who;
    const struct filter_call *calls;
    const struct filter_call *of_sanitizers; /* in builds with them, and not printed; NULL: none */
};

/* All roles of the program that this is linked into, ending with one without a name. */
extern const struct filter_role filter_roles[];
const struct filter_role *filter_role(const char *name);

/*
 * From here on this thread and all that comes of it makes no other calls. What is not allowed is not done: it
 * is told on standard error and to `on_violation` (NULL: nobody), and the process ends.
 */
int filter_install(const struct filter_role *role, void (*on_violation)(const struct forkd_error *),
                   struct forkd_error *err);

/* The roles as text: what --syscalls prints. */
void filter_print(FILE *out, const struct filter_role *roles);

#endif
