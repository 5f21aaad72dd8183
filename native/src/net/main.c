/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forkd-net: makes and removes the network namespaces of children, and sets what may pass. Needs
 * CAP_NET_ADMIN and CAP_SYS_ADMIN. One process serves any number of requests: a line each on standard input,
 * whose words are
 *
 * - make NAME TAP GATEWAY BITS UPLINK ADDRESS NEXT_HOP LENGTH: a namespace (net/namespace.h)
 * - remove NAME UPLINK: its name, at once; its devices go with the next
 * - sweep DEVICE: and with that DEVICE as well, unless it is "-"
 * - tap NAME GATEWAY BITS USER: a tap in our own namespace, of the user with that id
 * - rules NAME LENGTH: run nft(8) commands in a namespace; NAME "-" is our own
 * - forget NAME TAP: drop the connections that it knows; EBUSY when somebody still has its tap open
 * - resolver NAME PROGRAM CONFIGURATION: start dnsmasq in it, in place of one that runs
 * - quiet NAME: end that
 *
 * LENGTH is how many bytes of nft commands follow the line. The answer to each is a line, "ok LENGTH" or
 * "error ERRNO LENGTH", and so many bytes: what the commands printed, or a sentence. There is no shell, and
 * no name has a slash.
 */
#include "net/link.h"
#include "net/namespace.h"
#include "net/rules.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_WORDS 10u
#define MAX_SCRIPT (16u << 20)

struct request {
    const char *words[MAX_WORDS]; /* those beyond count are empty */
    size_t count;
    char *script; /* what followed the line, NUL-terminated; NULL: nothing */
    char *output; /* for the answer; NULL: nothing */
};

static pid_t starter;

static int bad(struct forkd_error *err, const char *word)
{
    return error_set(err, EINVAL, "read", "request", "%.64s", word);
}

/* A name in a folder, or of a device. */
static bool is_name(const char *text, size_t most)
{
    size_t length = strlen(text);
    if (length == 0 || length > most || *text == '.')
        return false;
    for (const char *c = text; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("-_.", *c) == NULL)
            return false;
    return true;
}

static int number(const char *text, uint32_t most, uint32_t *out, struct forkd_error *err)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno != 0 || value > most)
        return bad(err, text);
    *out = (uint32_t)value;
    return 0;
}

static int address(const char *text, uint32_t *out, struct forkd_error *err)
{
    struct in_addr parsed;
    if (inet_pton(AF_INET, text, &parsed) != 1)
        return bad(err, text);
    *out = ntohl(parsed.s_addr);
    return 0;
}

static bool is_orphan(void)
{
    return getppid() != starter;
}

/* Removes devices that were marked; and that one, unless it is NULL. */
static int sweep_devices(const char *name, struct forkd_error *err)
{
    struct link_batch batch;
    int result = link_open(&batch, err);
    if (result < 0)
        return result;
    batch.missing_is_fine = true;
    if (name != NULL)
        link_doom(&batch, name);
    link_delete_doomed(&batch);
    result = link_send(&batch, err);
    link_close(&batch);
    return result;
}

static int make(struct request *request, struct forkd_error *err)
{
    const char *const *word = request->words;
    struct namespace_plan plan = {.name = word[1], .tap = word[2], .uplink = word[5]};
    int result;
    if (!is_name(plan.tap, IFNAMSIZ - 1) || !is_name(plan.uplink, IFNAMSIZ - 1))
        return bad(err, "device");
    if ((result = address(word[3], &plan.gateway, err)) < 0 ||
        (result = number(word[4], 32, &plan.gateway_bits, err)) < 0 ||
        (result = address(word[6], &plan.address, err)) < 0 ||
        (result = address(word[7], &plan.next_hop, err)) < 0)
        return result;
    if ((result = namespace_make(&plan, request->script, err)) < 0 || !is_orphan())
        return result;
    /* Who wanted it is gone, and whoever takes back what that had may have looked before it was there. */
    namespace_remove(plan.name, plan.uplink, NULL);
    return sweep_devices(NULL, err);
}

static int remove_one(struct request *request, struct forkd_error *err)
{
    return is_name(request->words[2], IFNAMSIZ - 1)
               ? namespace_remove(request->words[1], request->words[2], err)
               : bad(err, "device");
}

static int tap(struct request *request, struct forkd_error *err)
{
    const char *const *word = request->words;
    uint32_t gateway = 0;
    uint32_t bits = 0;
    uint32_t user = 0;
    int result;
    if (!is_name(word[1], IFNAMSIZ - 1))
        return bad(err, word[1]);
    if ((result = address(word[2], &gateway, err)) < 0 || (result = number(word[3], 32, &bits, err)) < 0 ||
        (result = number(word[4], LINK_NO_OWNER - 1, &user, err)) < 0)
        return result;
    return link_tap(word[1], user, gateway, bits, err);
}

static int sweep(struct request *request, struct forkd_error *err)
{
    const char *name = request->words[1];
    return sweep_devices(strcmp(name, "-") == 0 ? NULL : name, err);
}

static int run_rules(void *context, struct forkd_error *err)
{
    struct request *request = context;
    return rules_run(request->script, &request->output, err);
}

static int rules(struct request *request, struct forkd_error *err)
{
    return namespace_within(request->words[1], run_rules, request, err);
}

static int forget_guest(void *context, struct forkd_error *err)
{
    const struct request *request = context;
    int result = link_check_tap(request->words[2], err);
    return result < 0 ? result : rules_forget_connections(err);
}

static int forget(struct request *request, struct forkd_error *err)
{
    return is_name(request->words[2], IFNAMSIZ - 1)
               ? namespace_within(request->words[1], forget_guest, request, err)
               : bad(err, "device");
}

/* dnsmasq leaves its starter when it has opened its sockets; what it says before that, it says on its
 * standard error, which is ours. */
static int start_resolver(void *context, struct forkd_error *err)
{
    const struct request *request = context;
    const char *program = request->words[2];
    char option[512];
    snprintf(option, sizeof option, "--conf-file=%s", request->words[3]);
    char *const arguments[] = {(char *)"dnsmasq", option, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        int nothing = open("/dev/null", O_RDWR);
        if (nothing < 0)
            _exit(126);
        dup2(nothing, STDIN_FILENO);
        dup2(nothing, STDOUT_FILENO);
        execv(program, arguments);
        _exit(127);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return error_set(err, errno, "start", program, NULL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return is_orphan() ? namespace_end_own_resolver(err) : 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return error_set(err, ENOENT, "start", program, NULL);
    return error_say(err, EIO, "start", program, "%s ended with status %d", program,
                     WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static int resolver(struct request *request, struct forkd_error *err)
{
    int result = namespace_end_resolver(request->words[1], err);
    return result < 0 ? result : namespace_within(request->words[1], start_resolver, request, err);
}

static int quiet(struct request *request, struct forkd_error *err)
{
    return namespace_end_resolver(request->words[1], err);
}

static const struct verb {
    const char *name;
    size_t words; /* with its own */
    bool script;  /* the last of them is a length */
    int (*serve)(struct request *request, struct forkd_error *err);
} verbs[] = {
    {"make", 9, true, make},          {"remove", 3, false, remove_one}, {"tap", 5, false, tap},
    {"sweep", 2, false, sweep},       {"rules", 3, true, rules},        {"forget", 3, false, forget},
    {"resolver", 4, false, resolver}, {"quiet", 2, false, quiet},
};

static int read_script(struct request *request, const char *length, struct forkd_error *err)
{
    uint32_t bytes = 0;
    int result = number(length, MAX_SCRIPT, &bytes, err);
    if (result < 0)
        return result;
    request->script = malloc((size_t)bytes + 1);
    if (request->script == NULL || fread(request->script, 1, bytes, stdin) != bytes)
        return error_set(err, EIO, "read", "request", "its rules are incomplete");
    request->script[bytes] = '\0';
    return 0;
}

static int serve(struct request *request, struct forkd_error *err)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        const struct verb *verb = &verbs[i];
        if (request->count == 0 || strcmp(verb->name, request->words[0]) != 0)
            continue;
        if (request->count != verb->words ||
            (!is_name(request->words[1], 255) && strcmp(request->words[1], "-") != 0))
            return bad(err, request->words[0]);
        int result = verb->script ? read_script(request, request->words[verb->words - 1], err) : 0;
        return result < 0 ? result : verb->serve(request, err);
    }
    return bad(err, request->count == 0 ? "an empty line" : request->words[0]);
}

static void answer(const struct request *request, const struct forkd_error *err)
{
    const char *text = err->code != 0 ? err->text : request->output != NULL ? request->output : "";
    if (err->code != 0)
        printf("error %d %zu\n", -err->code, strlen(text));
    else
        printf("ok %zu\n", strlen(text));
    fputs(text, stdout);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct forkd_error error;
    starter = getppid();
    if (argc != 1) {
        fprintf(stderr, "usage: %s < REQUESTS\n", argv[0]);
        return 2;
    }
    if (namespace_init(&error) < 0) {
        fprintf(stderr, "forkd-net: %s\n", error.text);
        return 1;
    }
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        struct request request = {0};
        for (size_t i = 0; i < MAX_WORDS; i++)
            request.words[i] = "";
        char *rest = NULL;
        for (char *word = strtok_r(line, " \n", &rest); word != NULL && request.count < MAX_WORDS;
             word = strtok_r(NULL, " \n", &rest))
            request.words[request.count++] = word;
        error.code = 0;
        serve(&request, &error);
        answer(&request, &error);
        free(request.script);
        free(request.output);
    }
    free(line);
    return ferror(stdin) || ferror(stdout);
}
