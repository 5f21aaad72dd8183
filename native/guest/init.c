/* SPDX-License-Identifier: Apache-2.0 */
#include "init.h"

#include "clock.h"
#include "cmdline.h"
#include "console.h"
#include "daemon.h"
#include "hello.h"
#include "identity.h"
#include "modules.h"
#include "mounts.h"
#include "network.h"
#include "root.h"
#include "volumes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODULE_LIST "/lib/modules/forkd.list"

/* Docker's, and the kernel's own bound (fs.nr_open). */
#define FILES_MAX 1048576

/* An agent that dies sooner than this after its start is not started again at once. */
#define RESTART_PAUSE_MS 1000

/* How long programs get between SIGTERM and the end. */
#define FAREWELL_MS 2000

static char cmdline[CMDLINE_SIZE];

static void read_cmdline(void)
{
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, cmdline, sizeof cmdline - 1);
    cmdline[length > 0 ? length : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

/* An initramfs without /dev/console starts us without any descriptor. */
static void open_console(void)
{
    int fd = fcntl(STDERR_FILENO, F_GETFD) < 0 ? open("/dev/console", O_RDWR) : -1;
    for (int i = 0; i < 3 && fd >= 0; i++)
        if (fd != i)
            dup2(fd, i);
    if (fd > STDERR_FILENO)
        close(fd);
    /* The output of what is warmed, as whatever user: it may open /dev/stderr. */
    fchmod(STDERR_FILENO, 0622);
}

/* Of everything that runs here, since it is inherited: as in Docker. What a core dump costs stays a choice.
 */
static void set_limits(void)
{
    const struct rlimit files = {FILES_MAX, FILES_MAX};
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_NPROC, &none) < 0)
        console_failure(errno, "", "limits");
}

static void set_environment(void)
{
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("HOME", "/root", 1);
    setenv("TERM", "linux", 1);
    setenv("LANG", "C.UTF-8", 1);
    unsetenv("ip"); /* kernels that do not know the word hand it on */
}

static void set_hostname(void)
{
    char name[65] = "";
    if (!cmdline_value(cmdline, "forkd.hostname", name, sizeof name)) {
        int fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
        if (fd >= 0)
            close(fd);
        name[length > 0 ? length : 0] = '\0';
        name[strcspn(name, " \t\r\n")] = '\0';
    }
    if (!*name)
        snprintf(name, sizeof name, "localhost");
    if (sethostname(name, strlen(name)) < 0)
        console_failure(errno, "hostname", name);
}

static void set_network(void)
{
    char text[256];
    struct cmdline_network network;
    network_loopback_up();
    network_allow_users();
    if (!cmdline_value(cmdline, "ip", text, sizeof text))
        return;
    if (cmdline_network(text, &network)) {
        network_set_up(&network);
        network_write_resolvers();
    } else {
        console("ip=%s: not understood", text);
    }
}

_Noreturn static void power_off(void)
{
    sync();
    mounts_close();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

/* There is no shell to drop into. The monitor is told, in case it can be. */
_Noreturn static void give_up(const struct forkd_error *err)
{
    console_error(err);
    hello_send(err);
    power_off();
}

/* What cannot be mounted now cannot be in a child either, all of which would end. */
static void mount_volumes(void)
{
    struct forkd_error err;
    if (volumes_mount(&err) < 0)
        give_up(&err);
}

static void set_up(void)
{
    umask(022);
    mounts_early();
    open_console();
    read_cmdline();
    if (root_is_initramfs()) {
        struct forkd_error err;
        modules_load(MODULE_LIST);
        if (root_switch(cmdline, &err) < 0)
            give_up(&err);
    }
    mounts_all();
    set_limits();
    set_environment();
    set_hostname();
    volumes_init(cmdline);
    mount_volumes();
    set_network();
    identity_begin("");
}

static void reap_for(int milliseconds)
{
    int64_t end = clock_now_ms() + milliseconds;
    for (;;) {
        pid_t gone = waitpid(-1, NULL, WNOHANG);
        if (gone < 0 || clock_now_ms() >= end)
            return;
        if (gone == 0)
            clock_sleep_ms(10);
    }
}

_Noreturn static void shut_down(void)
{
    console("power off");
    kill(-1, SIGTERM);
    reap_for(FAREWELL_MS);
    kill(-1, SIGKILL);
    reap_for(FAREWELL_MS);
    power_off();
}

static pid_t start_agent(const sigset_t *usual)
{
    pid_t pid = fork();
    if (pid != 0) {
        if (pid < 0)
            console_failure(errno, "", "the agent cannot be started");
        return pid;
    }
    setsid();
    sigprocmask(SIG_SETMASK, usual, NULL);
    daemon_run(cmdline);
}

void init_run(void)
{
    sigset_t ours;
    sigset_t usual;
    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigprocmask(SIG_BLOCK, &ours, &usual);
    reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del then comes as SIGINT */
    set_up();
    pid_t agent = start_agent(&usual);
    int64_t started = clock_now_ms();
    for (;;) {
        int signal = sigwaitinfo(&ours, NULL);
        if (signal == SIGTERM || signal == SIGINT)
            shut_down();
        bool lost = agent < 0;
        for (pid_t gone = waitpid(-1, NULL, WNOHANG); gone > 0; gone = waitpid(-1, NULL, WNOHANG))
            lost = lost || gone == agent;
        if (!lost)
            continue;
        console("the agent ended; it is started again");
        if (clock_now_ms() - started < RESTART_PAUSE_MS)
            clock_sleep_ms(RESTART_PAUSE_MS);
        agent = start_agent(&usual);
        started = clock_now_ms();
    }
}
