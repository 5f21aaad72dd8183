/* SPDX-License-Identifier: Apache-2.0 */
#include "cmdline.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The end of the word at `at`; white space inside double quotes does not end it. */
static const char *word_end(const char *at)
{
    bool quoted = false;
    for (; *at && (quoted || !strchr(" \t\n", *at)); at++)
        if (*at == '"')
            quoted = !quoted;
    return at;
}

static bool copy(const char *text, size_t length, char *out, size_t size)
{
    /* Both "key=a b" and key="a b" are in use. */
    if (length > 0 && text[0] == '"') {
        text++;
        length--;
    }
    if (length > 0 && text[length - 1] == '"')
        length--;
    if (length >= size)
        return false;
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

bool cmdline_value(const char *cmdline, const char *key, char *out, size_t size)
{
    size_t key_length = strlen(key);
    while (*cmdline) {
        cmdline += strspn(cmdline, " \t\n");
        const char *end = word_end(cmdline);
        const char *name = cmdline + (*cmdline == '"');
        size_t length = (size_t)(end - cmdline);
        if (length == 2 && memcmp(cmdline, "--", 2) == 0)
            return false;
        if (strncmp(name, key, key_length) == 0 && name + key_length <= end) {
            const char *rest = name + key_length;
            if (*rest == '=')
                return copy(rest + 1, (size_t)(end - rest - 1), out, size);
            if (rest == end && size > 0) {
                *out = '\0';
                return true;
            }
        }
        cmdline = end;
    }
    return false;
}

bool cmdline_has(const char *cmdline, const char *word)
{
    char ignored[CMDLINE_SIZE];
    return cmdline_value(cmdline, word, ignored, sizeof ignored);
}

int cmdline_next_mount(const char **list, struct cmdline_mount *out, struct forkd_error *err)
{
    if (!**list)
        return 0;
    char entry[sizeof out->target];
    size_t length = strcspn(*list, ",");
    snprintf(entry, sizeof entry, "%.*s", (int)length, *list);
    bool fits = length < sizeof entry;
    *list += length + ((*list)[length] == ',');
    *out = (struct cmdline_mount){0};
    char *colon = strchr(entry, ':');
    if (fits && colon) {
        char *target = colon + 1;
        size_t device_length = (size_t)(colon - entry);
        char *mark = strchr(target, ':');
        out->read_only = mark && strcmp(mark, ":ro") == 0;
        if (mark && out->read_only)
            *mark = '\0';
        if (device_length > 0 && device_length < sizeof out->device && !memchr(entry, '/', device_length) &&
            target[0] == '/' && !strchr(target, ':')) {
            memcpy(out->device, entry, device_length);
            snprintf(out->target, sizeof out->target, "%s", target);
            return 1;
        }
    }
    return error_say(err, EINVAL, "parse", entry, "forkd.mounts: malformed entry: %s", entry);
}

bool cmdline_network(const char *text, struct cmdline_network *out)
{
    char fields[7][64] = {0};
    for (size_t i = 0; i < 7; i++) {
        size_t length = strcspn(text, ":");
        if (length >= sizeof fields[i])
            return false;
        memcpy(fields[i], text, length);
        text += length;
        if (!*text)
            break;
        text++;
    }
    /* client, server, gateway, netmask, host name, device, autoconf */
    *out = (struct cmdline_network){0};
    if (inet_pton(AF_INET, fields[0], &out->address) != 1)
        return false;
    if (*fields[2] && inet_pton(AF_INET, fields[2], &out->gateway) != 1)
        return false;
    if (inet_pton(AF_INET, *fields[3] ? fields[3] : "255.255.255.0", &out->netmask) != 1)
        return false;
    if (strlen(fields[5]) >= sizeof out->device || strchr(fields[5], '/'))
        return false;
    snprintf(out->device, sizeof out->device, "%.15s", *fields[5] ? fields[5] : "eth0");
    return true;
}

bool cmdline_host(const char *cmdline, struct in_addr *out)
{
    char text[256];
    struct cmdline_network network;
    if (!cmdline_value(cmdline, "ip", text, sizeof text) || !cmdline_network(text, &network) ||
        network.gateway.s_addr == INADDR_ANY)
        return false;
    *out = network.gateway;
    return true;
}
