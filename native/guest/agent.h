/* SPDX-License-Identifier: Apache-2.0 */
/* The agent: what answers on vsock and TCP once the guest is up. */
#ifndef FORKD_GUEST_AGENT_H
#define FORKD_GUEST_AGENT_H

#include "bridge.h"
#include "warm.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent_options {
    const struct image *image;  /* for every program that the agent starts; NULL: they run as it does */
    const char *const *pythons; /* NULL-terminated; see warm_init */
    const char *warm_code;      /* Python, NULL: none */
    const char *warmup_command; /* NULL: none */
    const char *language;       /* "node": evals go to the warm-up command; NULL: "python" */
    void (*shutdown)(void);     /* what the shutdown action does, after its reply */
    struct in_addr client;      /* who alone may connect over TCP; zero: anybody */
};

struct agent;

/* Those who come to one protocol, each served in a thread. */
struct agent_port {
    struct agent *agent;
    void (*serve)(struct agent *agent, int fd); /* and closes it */
    int patience_seconds; /* a connection that neither takes nor gives a byte for so long is given up; 0: none
                           */
    int most;             /* threads; whoever comes next waits in the backlog */
    int running;
    pthread_mutex_t lock;
    pthread_cond_t fewer;
};

struct agent {
    struct agent_options options;
    struct bridge bridge;
    struct warm warm;
    struct agent_port lines;   /* line-JSON */
    struct agent_port streams; /* docs/guest-protocol.md */
};

/* SIGPIPE is ignored from here on. `agent` must not be moved. */
void agent_init(struct agent *agent, const struct agent_options *options);

/*
 * Does all warm-up: 0 or a negative errno. The agent can be served all the same, and answers what can be
 * answered.
 */
int agent_warm_up(struct agent *agent, struct forkd_error *err);

int agent_listen_tcp(uint32_t address, uint16_t port); /* host byte order; a descriptor or a negative errno */

/* Serves connections to one of the agent's ports for ever. Any number of threads may call it with their
 * listeners. */
_Noreturn void agent_serve(struct agent_port *port, int listener);

#endif
