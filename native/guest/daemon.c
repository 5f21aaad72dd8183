/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include "agent.h"
#include "base64.h"
#include "clock.h"
#include "cmdline.h"
#include "console.h"
#include "hello.h"
#include "identity.h"
#include "image.h"
#include "recipe.h"
#include "vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECIPE "/etc/forkd-recipe.env"
#define RECIPE_MAX 65536

static const char *const pythons[] = {
    "/usr/local/bin/python3", "/usr/bin/python3", "/usr/local/bin/python", "/usr/bin/python", NULL,
};

/* All of a process's state that other threads look at, so never on a stack. */
static struct image image;
static struct agent agent;
static struct identity_target identity = {.root = "", .warm = &agent.warm};

static char *read_recipe(void)
{
    char *text = calloc(1, RECIPE_MAX + 1);
    int fd = open(RECIPE, O_RDONLY | O_CLOEXEC);
    if (text && fd >= 0 && read(fd, text, RECIPE_MAX) < 0)
        console_failure(errno, "", RECIPE);
    if (fd >= 0)
        close(fd);
    return text;
}

/* The kernel makes environment variables of words on its command line; they override the image. */
static const char *setting(const char *recipe, const char *key)
{
    const char *value = getenv(key);
    return value || !recipe ? value : recipe_value(recipe, key);
}

static const char *warm_code(const char *cmdline)
{
    char *code = malloc(CMDLINE_SIZE);
    ssize_t length = -1;
    if (!code || !cmdline_value(cmdline, "forkd.warm", code, CMDLINE_SIZE))
        return NULL;
    length = base64_decode(code, strlen(code), (unsigned char *)code);
    if (length < 0) {
        console("forkd.warm: not base64");
        return "raise ValueError('forkd.warm is not base64')";
    }
    code[length] = '\0';
    return code;
}

/* The agent is what a guest in need of memory is reached by. Its children start at 0 again. */
static void protect_from_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "-1000", 5) < 0)
        console_failure(errno, "", "oom_score_adj");
    if (fd >= 0)
        close(fd);
}

/* PID 1 ends everything in order. */
static void ask_for_power_off(void)
{
    kill(1, SIGTERM);
}

static void start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, argument);
    if (error)
        console_failure(error, "", "a thread cannot be started");
    else
        pthread_detach(thread);
}

static void *run_identity(void *argument)
{
    identity_serve(&identity, *(int *)argument);
}

static void *run_lines(void *argument)
{
    agent_serve(&agent.lines, *(int *)argument);
}

static void *run_streams(void *argument)
{
    agent_serve(&agent.streams, *(int *)argument);
}

/* Open before the warm-up, so that a VM is forked safely even while its agent is being restarted. */
static void listen_for_identity(void)
{
    static int listener;
    identity.random = open("/dev/random", O_WRONLY | O_CLOEXEC);
    if (identity.random < 0)
        identity.random = -errno;
    listener = vsock_listen(GUEST_PORT_IDENTITY);
    if (listener < 0)
        console_failure(listener, "", "no vsock");
    else
        start_thread(run_identity, &listener);
}

/* A program that should not run as root never does: without its user there is no agent. */
_Noreturn static void refuse_image(const struct forkd_error *err)
{
    console_error(err);
    hello_send(err);
    for (;;)
        pause();
}

/* Somebody else's listener may be about to go, as when this agent replaces one that was killed. */
static int listen_tcp(void)
{
    int tcp = agent_listen_tcp(INADDR_ANY, GUEST_PORT_AGENT);
    for (int tries = 30; tcp == -EADDRINUSE && tries > 0; tries--) {
        clock_sleep_ms(200);
        tcp = agent_listen_tcp(INADDR_ANY, GUEST_PORT_AGENT);
    }
    return tcp;
}

void daemon_run(const char *cmdline)
{
    static int vsock;
    static int streams;
    static int tcp;
    struct forkd_error err;
    protect_from_oom();
    int found = image_load("", &image, &err);
    if (found < 0)
        refuse_image(&err);
    const char *recipe = read_recipe();
    struct agent_options options = {
        .image = found ? &image : NULL,
        .pythons = pythons,
        .warm_code = warm_code(cmdline),
        .warmup_command = setting(recipe, "FORKD_WARMUP_CMD"),
        .language = setting(recipe, "FORKD_AGENT_LANG"),
        .shutdown = ask_for_power_off,
    };
    bool has_cable = cmdline_host(cmdline, &options.client);
    if (options.warmup_command && !*options.warmup_command)
        options.warmup_command = NULL;
    agent_init(&agent, &options);
    listen_for_identity();
    int status = agent_warm_up(&agent, &err);
    if (status < 0)
        console("warm-up failed: %s", err.text);
    else if (options.warm_code || options.warmup_command)
        console("warmup ready");

    vsock = vsock_listen(GUEST_PORT_AGENT);
    if (vsock >= 0)
        start_thread(run_lines, &vsock);
    streams = vsock_listen(GUEST_PORT_STREAMS);
    if (streams >= 0)
        start_thread(run_streams, &streams);
    else if (vsock >= 0)
        console_failure(streams, "", "no streams");
    tcp = has_cable ? listen_tcp() : -ENODEV;
    if (has_cable && tcp < 0)
        console_failure(tcp, "", "no TCP");
    if (tcp < 0 && vsock < 0)
        exit(1); /* init starts another */
    console("agent listening on port %u (%s%s%s)", GUEST_PORT_AGENT, vsock >= 0 ? "vsock" : "",
            vsock >= 0 && tcp >= 0 ? ", " : "", tcp >= 0 ? "tcp" : "");
    hello_send(status < 0 ? &err : NULL);
    if (tcp >= 0)
        agent_serve(&agent.lines, tcp);
    agent_serve(&agent.lines, vsock);
}
