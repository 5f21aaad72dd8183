/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How programs of a container image want to be run: the environment, folder and user of its configuration,
 * which whoever made the root file system left in /etc/forkd/image.json. The agent itself stays root.
 */
#ifndef FORKD_GUEST_IMAGE_H
#define FORKD_GUEST_IMAGE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Programs run as `uid` even when it is 0; there is no image at all where there is no struct image. */
struct image {
    char **environment; /* "NAME=value", NULL-terminated */
    bool own_home;      /* whether HOME is the image's own; else it is the user's */
    char *home;         /* the user's, an absolute path */
    char *cwd;
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* supplementary */
    size_t group_count;
};

/*
 * `text` is decoded in place; `passwd` and `group` are the image's own, empty where it has none. The user is
 * understood as Docker does: NAME or UID, with :GROUP or :GID; only without a group of its own does the user
 * get the supplementary groups. Returns 0 or a negative errno, ESRCH when it has no such user; nothing needs
 * to be freed then.
 */
int image_parse(char *text, size_t length, const char *passwd, const char *group, struct image *out,
                struct forkd_error *err);

/* Reads the three files below `root` ("" is "/"). Returns 1, 0 when there is no image.json, or as above. */
int image_load(const char *root, struct image *out, struct forkd_error *err);

/*
 * The same for another user, understood as above and looked for below `root`; `image` may be NULL. Returns 0
 * or a negative errno.
 */
int image_with_user(const char *root, const struct image *image, const char *user, struct image *out,
                    struct forkd_error *err);

void image_free(struct image *image);

/* What /etc/passwd and /etc/group below `root` call a number; nothing where they cannot be read. */
#define ACCOUNT_NAME_MAX 64 /* longer ones are cut */
struct accounts {
    char *passwd;
    char *group;
};
struct account_name {
    const char *start;
    size_t length; /* 0: it has no name */
};
void accounts_load(const char *root, struct accounts *out);
void accounts_free(struct accounts *accounts);
struct account_name accounts_user(const struct accounts *accounts, uid_t uid);
struct account_name accounts_group(const struct accounts *accounts, gid_t gid);

/* The path of a program in the image's PATH, to be freed; NULL when it has none. */
char *image_find_program(const struct image *image, const char *name);

#endif
