/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_TREE_H
#define FORKD_GUEST_TREE_H

/*
 * Copies what is in the folder `from` into the empty folder `to`, both open for reading, with owners, modes
 * and times, and gives `to` those of `from`. Goes on after a failure; 0 or the negative errno of the first.
 */
int tree_copy(int from, int to);

/* Copies the rest of one file to another: 0 or a negative errno. */
int tree_copy_file(int from, int to);

#endif
