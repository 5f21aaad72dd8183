/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main way through libforkd alone, for hosts where a Java runtime is too slow: boot a Linux guest with
 * two vCPUs, snapshot it, start the fork server, fork, and use every child. See usage().
 */
#include <forkd/forkd.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AGENT_PORT 8888
#define MAX_CHILDREN 64
#define REPLY_SIZE 65536
#define TEXT_SIZE 4096
#define READY_MS 300000
/* Seconds; and what passes before the guest gets to set its clock, which is much in an emulated machine. */
#define CLOCK_TOLERANCE 1

struct options {
    const char *vmm;
    const char *kernel;
    const char *initrd;
    const char *rootfs;
    const char *snapshot;
    const char *command_line;
    const char *refused; /* the server must be refused with these words */
    uint64_t memory_mib; /* 0: the library's default */
    int children;
    int rounds;
    bool python;
    bool baseline;
    bool bare;
};

/* What a child said of itself. */
struct facts {
    char hostname[TEXT_SIZE];
    char random[TEXT_SIZE];
    long long time;
    long long ready_s; /* how long it took to become ready, rounded up */
};

static const char default_command_line[] =
    "console=ttyS0 reboot=k panic=1 root=/dev/vda rw random.trust_cpu=on";

static int passed;
static int failed;

static double now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

__attribute__((format(printf, 2, 3))) static bool check(bool good, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf(good ? "ok: " : "FAILED: ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    if (good)
        passed++;
    else
        failed++;
    return good;
}

static void show_tail(const char *path)
{
    char command[256];
    snprintf(command, sizeof command, "tail -n 40 '%s'", path);
    if (system(command) != 0)
        printf("(no %s)\n", path);
}

/* The value of a string field in a line of JSON, unescaped as far as our answers need it. */
static bool json_string(const char *line, const char *field, char *value, size_t size)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", field);
    const char *from = strstr(line, key);
    if (from == NULL)
        return false;
    from += strlen(key);
    while (*from == ' ')
        from++;
    if (*from++ != '"')
        return false;
    size_t length = 0;
    for (; *from != '\0' && *from != '"' && length + 1 < size; from++) {
        if (*from == '\\' && from[1] != '\0')
            value[length++] = *++from == 'n' ? '\n' : *from;
        else
            value[length++] = *from;
    }
    value[length] = '\0';
    return *from == '"';
}

/* One request to the agent; the answer's field. What is wrong is printed. */
static bool ask(struct forkd_vm *vm, const char *request, const char *field, char *value, size_t size)
{
    static char reply[REPLY_SIZE];
    struct forkd_error error;
    int fd = -1;
    if (forkd_vm_connect(vm, AGENT_PORT, &fd, &error) < 0) {
        printf("connect: %s\n", error.text);
        return false;
    }
    size_t length = 0;
    ssize_t got = 0;
    if (write(fd, request, strlen(request)) == (ssize_t)strlen(request) && shutdown(fd, SHUT_WR) == 0) {
        while (length + 1 < sizeof reply && (got = read(fd, reply + length, sizeof reply - 1 - length)) > 0)
            length += (size_t)got;
    }
    reply[length] = '\0';
    close(fd);
    if (json_string(reply, field, value, size))
        return true;
    printf("%s -> %s", request, length > 0 ? reply : "(nothing)\n");
    return false;
}

static bool shell(struct forkd_vm *vm, const char *script, char *output, size_t size)
{
    char request[TEXT_SIZE];
    snprintf(request, sizeof request,
             "{\"action\":\"exec\",\"args\":[\"/bin/sh\",\"-c\",\"%s\"],\"timeout\":120}\n", script);
    return ask(vm, request, "stdout", output, size);
}

static bool await_ready(struct forkd_vm *vm, const char *what, const char *console, struct facts *facts)
{
    struct forkd_error error;
    struct forkd_vm_status status = {0};
    bool good = forkd_vm_wait(vm, READY_MS, &status, &error) == 0 && status.phase == FORKD_VM_READY;
    check(good, "%s is ready%s%s", what, status.error.code != 0 ? ": " : "", status.error.text);
    if (!good) {
        printf("phase %u, end %u, %s\n", status.phase, status.end, status.phase == 0 ? error.text : "");
        show_tail(console);
    } else if (status.ready_us > 0) {
        printf("  fork %.1f ms, ready %.1f ms\n", (double)status.fork_us / 1e3,
               (double)status.ready_us / 1e3);
    }
    if (facts != NULL)
        facts->ready_s = (long long)(status.ready_us / 1000000 + 1);
    return good;
}

/* Both vCPUs run programs. */
static void check_vcpus(struct forkd_vm *vm, const char *what)
{
    char text[TEXT_SIZE] = "";
    shell(vm, "grep -c ^processor /proc/cpuinfo; taskset 1 echo first; taskset 2 echo second", text,
          sizeof text);
    check(strcmp(text, "2\nfirst\nsecond\n") == 0, "%s has 2 vCPUs that run", what);
}

static void check_eval(struct forkd_vm *vm, const char *what)
{
    char text[TEXT_SIZE] = "";
    ask(vm, "{\"action\":\"eval\",\"code\":\"numpy.zeros(3).tolist()\"}\n", "result", text, sizeof text);
    check(strcmp(text, "[0.0, 0.0, 0.0]") == 0, "%s evaluates with numpy", what);
}

static bool boot_and_snapshot(const struct options *options)
{
    struct forkd_error error;
    const struct forkd_disk disk = {.path = options->rootfs};
    const struct forkd_boot_options boot = {.vmm_path = options->vmm,
                                            .kernel_path = options->kernel,
                                            .initrd_path = options->initrd,
                                            .command_line = options->command_line,
                                            .memory_bytes = options->memory_mib << 20,
                                            .vcpu_count = 2,
                                            .flags = options->bare ? FORKD_NO_AGENT : 0,
                                            .cpu_template =
                                                options->baseline ? FORKD_CPU_BASELINE : FORKD_CPU_HOST,
                                            .disks = &disk,
                                            .disk_count = 1,
                                            .console_path = "boot.console",
                                            .vsock_path = "boot.vsock"};
    struct forkd_vm *vm = NULL;
    double start = now_ms();
    if (!check(forkd_vm_boot(&vm, &boot, &error) == 0, "the VM starts"))
        return printf("%s\n", error.text), false;
    bool good = await_ready(vm, "the booted guest", boot.console_path, NULL);
    printf("  boot %.0f ms\n", now_ms() - start);
    if (good) {
        if (!options->bare)
            check_vcpus(vm, "the booted guest");
        if (options->python)
            check_eval(vm, "the booted guest");
        mkdir(options->snapshot, 0700);
        start = now_ms();
        good = check(forkd_vm_snapshot(vm, options->snapshot, &error) == 0, "it is snapshotted");
        if (!good)
            printf("%s\n", error.text);
        printf("  snapshot %.0f ms\n", now_ms() - start);
    }
    forkd_vm_free(vm);
    return good;
}

/* Ask a child who it is, and check that against who it should be and against all before it. */
static void check_child(struct forkd_vm *vm, const char *name, struct facts *facts,
                        const struct facts *before, int count)
{
    char text[TEXT_SIZE] = "";
    long long earliest = time(NULL) - CLOCK_TOLERANCE - facts->ready_s;
    double start = now_ms();
    bool answered =
        shell(vm,
              "cat /proc/sys/kernel/hostname; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\\\n'; echo; "
              "date +%s",
              text, sizeof text);
    double took = now_ms() - start;
    long long latest = time(NULL) + CLOCK_TOLERANCE;
    int fields = sscanf(text, "%64s %64s %lld", facts->hostname, facts->random, &facts->time);
    if (!check(answered && fields == 3, "%s answers (%.0f ms)", name, took))
        return;
    check(strcmp(facts->hostname, name) == 0, "%s has its name: %s", name, facts->hostname);
    check(facts->time >= earliest && facts->time <= latest, "%s has the right time: %lld of %lld..%lld", name,
          facts->time, earliest, latest);
    bool unique = strlen(facts->random) == 32;
    for (int i = 0; i < count; i++)
        unique = unique && strcmp(facts->random, before[i].random) != 0;
    check(unique, "%s has random numbers of its own: %s", name, facts->random);
}

static void fork_round(const struct options *options, struct forkd_server *server, struct facts *facts,
                       int round)
{
    struct forkd_error error;
    struct forkd_vm *children[MAX_CHILDREN] = {0};
    char name[32];
    char console[64];
    char vsock[64];
    double start = now_ms();
    for (int i = 0; i < options->children; i++) {
        snprintf(name, sizeof name, "child-%d-%d", round + 1, i + 1);
        snprintf(console, sizeof console, "%s.console", name);
        snprintf(vsock, sizeof vsock, "%s.vsock", name);
        const struct forkd_child_options child = {
            .hostname = name, .vsock_path = vsock, .console_path = console, .ready_timeout_ms = READY_MS};
        if (forkd_server_fork(server, &child, &children[i], &error) < 0)
            check(false, "fork %s: %s", name, error.text);
    }
    for (int i = 0; i < options->children; i++) {
        snprintf(name, sizeof name, "child-%d-%d", round + 1, i + 1);
        snprintf(console, sizeof console, "%s.console", name);
        if (children[i] != NULL &&
            !await_ready(children[i], name, console, &facts[round * options->children + i])) {
            forkd_vm_free(children[i]);
            children[i] = NULL;
        }
    }
    printf("  %d children in %.0f ms\n", options->children, now_ms() - start);
    for (int i = 0; i < options->children; i++) {
        int number = round * options->children + i;
        snprintf(name, sizeof name, "child-%d-%d", round + 1, i + 1);
        if (children[i] == NULL)
            continue;
        check_child(children[i], name, &facts[number], facts, number);
        check_vcpus(children[i], name);
        if (options->python)
            check_eval(children[i], name);
    }
    for (int i = 0; i < options->children; i++)
        forkd_vm_free(children[i]);
}

/* Processes of ours that outlive what they belong to. */
static bool processes_left(void)
{
    DIR *proc = opendir("/proc");
    bool found = false;
    /* Where this is a namespace's first process, nobody else waits for those whose parents are gone. */
    while (getpid() == 1 && waitpid(-1, NULL, WNOHANG) > 0)
        ;
    for (struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;) {
        char path[300];
        char name[64] = "";
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        FILE *file = fopen(path, "re");
        if (file != NULL && fgets(name, sizeof name, file) != NULL && strncmp(name, "forkd-", 6) == 0) {
            printf("left: process %s %s", entry->d_name, name);
            found = true;
        }
        if (file != NULL)
            fclose(file);
    }
    if (proc != NULL)
        closedir(proc);
    return found;
}

static bool sockets_left(void)
{
    DIR *here = opendir(".");
    bool found = false;
    for (struct dirent *entry; here != NULL && (entry = readdir(here)) != NULL;) {
        if (entry->d_type == DT_SOCK) {
            printf("left: socket %s\n", entry->d_name);
            found = true;
        }
    }
    if (here != NULL)
        closedir(here);
    return found;
}

static int start_server(const struct options *options, const char *snapshot, struct forkd_server **server,
                        struct forkd_error *error)
{
    char memory[512];
    char vmstate[512];
    char layer[512];
    snprintf(memory, sizeof memory, "%s/memory.bin", snapshot);
    snprintf(vmstate, sizeof vmstate, "%s/vmstate", snapshot);
    snprintf(layer, sizeof layer, "%s/disk-0.layer", snapshot);
    const char *const layers[] = {layer};
    const struct forkd_disk disk = {
        .path = options->rootfs, .layer_paths = layers, .layer_count = access(layer, F_OK) == 0 ? 1 : 0};
    const struct forkd_server_options server_options = {.vmm_path = options->vmm,
                                                        .memory_path = memory,
                                                        .vmstate_path = vmstate,
                                                        .disks = &disk,
                                                        .disk_count = 1};
    return forkd_server_start(server, &server_options, error);
}

static struct forkd_vm *fork_one(struct forkd_server *server, const char *name)
{
    struct forkd_error error;
    struct forkd_vm *vm = NULL;
    char console[64];
    snprintf(console, sizeof console, "%s.console", name);
    const struct forkd_child_options child = {
        .hostname = name, .console_path = console, .ready_timeout_ms = READY_MS};
    if (forkd_server_fork(server, &child, &vm, &error) < 0) {
        check(false, "fork %s: %s", name, error.text);
        return NULL;
    }
    if (await_ready(vm, name, console, NULL))
        return vm;
    forkd_vm_free(vm);
    return NULL;
}

/* What the source had at the instant of the branch, in memory and on its disk, and nothing of later. */
static void check_branched(struct forkd_server *server, const char *name)
{
    char text[TEXT_SIZE] = "";
    struct forkd_vm *vm = fork_one(server, name);
    if (vm == NULL)
        return;
    shell(vm,
          "cat /proc/sys/kernel/hostname /run/then /root/then; ls /run/later /root/later 2>&1 | grep -c such",
          text, sizeof text);
    char expected[128];
    snprintf(expected, sizeof expected, "%s\nin memory\non disk\n2\n", name);
    if (!check(strcmp(text, expected) == 0, "%s has what the source had, and a name of its own", name))
        printf("%s", text);
    forkd_vm_free(vm);
}

static void branch_and_check(const struct options *options, struct forkd_server *server)
{
    struct forkd_error error;
    char text[TEXT_SIZE] = "";
    static const char directory[] = "branch";
    struct forkd_vm *source = fork_one(server, "source");
    if (source == NULL)
        return;
    shell(source, "echo in memory > /run/then; echo on disk > /root/then; sync", text, sizeof text);
    mkdir(directory, 0700);
    const struct forkd_branch_options branch = {.directory = directory};
    struct forkd_branch_result result;
    struct forkd_server *twin = NULL;
    int code = forkd_vm_branch(source, &branch, &twin, &result, &error);
    if (!check(code == 0, "the source is branched")) {
        printf("%s\n", error.text);
        forkd_vm_free(source);
        return;
    }
    printf("  pause %.1f ms, of it fork(2) %.1f ms\n", (double)result.pause_us / 1e3,
           (double)result.fork_us / 1e3);
    shell(source, "echo x > /run/later; echo x > /root/later; cat /root/later /run/then", text, sizeof text);
    check(strcmp(text, "x\nin memory\n") == 0, "the source goes on");
    check_branched(twin, "before-written");
    code = forkd_server_wait_written(twin, READY_MS, &error);
    if (!check(code == 0, "the branch is written"))
        printf("%s\n", error.text);
    forkd_server_free(twin);
    forkd_vm_free(source);
    struct forkd_server *restored = NULL;
    code = start_server(options, directory, &restored, &error);
    if (check(code == 0, "the branch's fork server starts"))
        check_branched(restored, "from-files");
    else
        printf("%s\n", error.text);
    forkd_server_free(restored);
    check(system("rm -r branch") == 0, "the branch is removed");
}

static void check_refused(const struct options *options)
{
    struct forkd_error error = {0};
    struct forkd_server *server = NULL;
    int result = start_server(options, options->snapshot, &server, &error);
    check(result < 0 && strstr(error.text, options->refused) != NULL, "%s is refused for '%s': %s",
          options->snapshot, options->refused, error.text);
    forkd_server_free(server);
}

static void fork_and_check(const struct options *options)
{
    struct forkd_error error = {0};
    struct facts *facts = calloc((size_t)options->children * (size_t)options->rounds, sizeof *facts);
    for (int round = 0; round < options->rounds && facts != NULL; round++) {
        struct forkd_server *server = NULL;
        double start = now_ms();
        int result = start_server(options, options->snapshot, &server, &error);
        if (!check(result == 0, "the fork server starts (%.1f ms)", now_ms() - start)) {
            printf("%s\n", error.text);
            break;
        }
        fork_round(options, server, facts, round);
        if (round == options->rounds - 1)
            branch_and_check(options, server);
        forkd_server_free(server);
    }
    free(facts);
}

static _Noreturn void usage(void)
{
    fputs("Usage: drive --vmm FORKD-VMM --rootfs IMAGE --snapshot DIR\n"
          "             [--kernel FILE] [--initrd FILE] [--append WORDS] [--memory MIB]\n"
          "             [--children N] [--rounds N] [--python] [--baseline] [--bare]\n"
          "             [--refused WORDS]\n"
          "\n"
          "With a kernel: boots it with two vCPUs and IMAGE as its disk, and writes DIR.\n"
          "Then, --rounds times (1), starts a fork server of DIR, forks --children (5; 0: none),\n"
          "lets each acknowledge its identity, and checks name, clock, random numbers and vCPUs;\n"
          "then branches one more, and forks that branch, before and after it is on disk.\n"
          "--python: the image has numpy, which is warmed. --baseline: with that CPU template.\n"
          "--bare: the kernel is one of tests/native/guests, without an agent, to make a snapshot of.\n"
          "--refused: instead, the host must refuse DIR, and say WORDS.\n"
          "Consoles are left in the current folder.\n",
          stderr);
    exit(2);
}

static void read_options(int count, char **words, struct options *options)
{
    static const struct option known[] = {
        {"vmm", required_argument, NULL, 'v'},      {"kernel", required_argument, NULL, 'k'},
        {"initrd", required_argument, NULL, 'i'},   {"rootfs", required_argument, NULL, 'r'},
        {"snapshot", required_argument, NULL, 's'}, {"append", required_argument, NULL, 'a'},
        {"children", required_argument, NULL, 'c'}, {"rounds", required_argument, NULL, 'n'},
        {"python", no_argument, NULL, 'p'},         {"baseline", no_argument, NULL, 'b'},
        {"refused", required_argument, NULL, 'f'},  {"memory", required_argument, NULL, 'm'},
        {"bare", no_argument, NULL, 'o'},           {NULL, 0, NULL, 0}};
    static char command_line[2048];
    const char *append = "";
    *options = (struct options){.children = 5, .rounds = 1};
    for (int option; (option = getopt_long(count, words, "", known, NULL)) >= 0;) {
        switch (option) {
        case 'v':
            options->vmm = optarg;
            break;
        case 'k':
            options->kernel = optarg;
            break;
        case 'i':
            options->initrd = optarg;
            break;
        case 'r':
            options->rootfs = optarg;
            break;
        case 's':
            options->snapshot = optarg;
            break;
        case 'a':
            append = optarg;
            break;
        case 'c':
            options->children = atoi(optarg);
            break;
        case 'n':
            options->rounds = atoi(optarg);
            break;
        case 'p':
            options->python = true;
            break;
        case 'b':
            options->baseline = true;
            break;
        case 'f':
            options->refused = optarg;
            break;
        case 'm':
            options->memory_mib = strtoull(optarg, NULL, 10);
            break;
        case 'o':
            options->bare = true;
            break;
        default:
            usage();
        }
    }
    if (optind != count || options->vmm == NULL || options->rootfs == NULL || options->snapshot == NULL ||
        options->children < 0 || options->children > MAX_CHILDREN || options->rounds < 1 ||
        (options->bare && options->children > 0) || (options->refused != NULL && options->kernel != NULL))
        usage();
    /* "import numpy" */
    snprintf(command_line, sizeof command_line, "%s%s %s", default_command_line,
             options->python ? " forkd.warm=aW1wb3J0IG51bXB5" : "", append);
    options->command_line = command_line;
}

int main(int count, char **words)
{
    struct options options;
    read_options(count, words, &options);
    setvbuf(stdout, NULL, _IOLBF, 0);
    double start = now_ms();
    if (options.refused != NULL)
        check_refused(&options);
    else if ((options.kernel == NULL || boot_and_snapshot(&options)) && options.children > 0)
        fork_and_check(&options);
    for (int i = 0; i < 50 && processes_left(); i++)
        usleep(100000);
    check(!processes_left(), "no process is left");
    check(!sockets_left(), "no socket is left");
    printf("took %.1f s\n%d passed, %d failed\n", (now_ms() - start) / 1e3, passed, failed);
    return failed == 0 ? 0 : 1;
}
