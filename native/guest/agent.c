/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include "clock.h"
#include "connection.h"
#include "console.h"
#include "streams/process.h"
#include "streams/stream.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
/* After what it needs. */
#include <linux/vm_sockets.h>
#include <unistd.h>

#define BACKLOG 128

#define LINES_MAX 256
#define LINES_PATIENCE_SECONDS 60

/* Each has a thread, and a process keeps that of its first stream; some more are told that there are too
 * many. */
#define STREAM_THREADS_MAX (STREAMS_MAX + PROCESSES_MAX + 64)

struct connection {
    struct agent_port *port;
    int fd;
};

static void serve_stream(struct agent *agent, int fd)
{
    stream_serve(agent->options.image, fd);
}

static void init_port(struct agent_port *port, struct agent *agent, const struct agent_port *as)
{
    *port = *as;
    port->agent = agent;
    pthread_mutex_init(&port->lock, NULL);
    pthread_cond_init(&port->fewer, NULL);
}

void agent_init(struct agent *agent, const struct agent_options *options)
{
    signal(SIGPIPE, SIG_IGN);
    *agent = (struct agent){.options = *options};
    if (!agent->options.language)
        agent->options.language = "python";
    init_port(&agent->lines, agent,
              &(struct agent_port){
                  .serve = connection_serve, .patience_seconds = LINES_PATIENCE_SECONDS, .most = LINES_MAX});
    init_port(&agent->streams, agent,
              &(struct agent_port){.serve = serve_stream, .most = STREAM_THREADS_MAX});
    bridge_init(&agent->bridge, options->image);
    warm_init(&agent->warm, options->image, options->pythons, options->warm_code);
}

int agent_warm_up(struct agent *agent, struct forkd_error *err)
{
    const struct agent_options *options = &agent->options;
    int status = 0;
    if (options->warmup_command) {
        bool evals = strcmp(options->language, "node") == 0;
        status = bridge_start(&agent->bridge, options->warmup_command, evals, err);
    }
    struct forkd_error warm_err;
    int warm_status = warm_start(&agent->warm, &warm_err);
    if (warm_status < 0)
        console_error(&warm_err);
    /* A Python that does not start, in an image that was never asked to warm it, only costs its evals. */
    if (warm_status < 0 && options->warm_code && status == 0) {
        status = warm_status;
        *err = warm_err;
    }
    return status;
}

int agent_listen_tcp(uint32_t address, uint16_t port)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(address),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0 || listen(fd, BACKLOG) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static void leave(struct agent_port *port)
{
    pthread_mutex_lock(&port->lock);
    port->running--;
    pthread_cond_signal(&port->fewer);
    pthread_mutex_unlock(&port->lock);
}

static void *serve(void *argument)
{
    struct connection connection = *(struct connection *)argument;
    free(argument);
    connection.port->serve(connection.port->agent, connection.fd);
    leave(connection.port);
    return NULL;
}

static void admit(struct agent_port *port, int fd)
{
    struct timeval patience = {.tv_sec = port->patience_seconds};
    if (port->patience_seconds > 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    struct connection *connection = malloc(sizeof *connection);
    pthread_t thread;
    if (connection) {
        *connection = (struct connection){.port = port, .fd = fd};
        if (pthread_create(&thread, NULL, serve, connection) == 0) {
            pthread_detach(thread);
            return;
        }
    }
    free(connection);
    close(fd);
    leave(port);
}

union peer {
    struct sockaddr any;
    struct sockaddr_in ip;
    struct sockaddr_vm vsock;
};

/* Programs in the guest, and whoever can route to it, are no clients: the host is, at its end of the cable.
 */
static bool is_client(const struct agent *agent, const union peer *peer)
{
    struct in_addr wanted = agent->options.client;
    if (peer->any.sa_family == AF_VSOCK)
        return peer->vsock.svm_cid == VMADDR_CID_HOST;
    return wanted.s_addr == INADDR_ANY || peer->ip.sin_addr.s_addr == wanted.s_addr;
}

void agent_serve(struct agent_port *port, int listener)
{
    for (;;) {
        pthread_mutex_lock(&port->lock);
        while (port->running >= port->most)
            pthread_cond_wait(&port->fewer, &port->lock);
        port->running++;
        pthread_mutex_unlock(&port->lock);
        union peer peer;
        memset(&peer, 0, sizeof peer);
        int fd = accept4(listener, &peer.any, &(socklen_t){sizeof peer}, SOCK_CLOEXEC);
        if (fd >= 0 && is_client(port->agent, &peer)) {
            admit(port, fd);
            continue;
        }
        int error = errno;
        leave(port);
        if (fd >= 0) {
            close(fd);
            continue;
        }
        /* Only a lack of something lasts (ENFILE, ENOMEM); a connection that came to nothing does not. */
        if (error != ECONNABORTED && error != EINTR)
            clock_sleep_ms(50);
    }
}
