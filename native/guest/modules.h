/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_GUEST_MODULES_H
#define FORKD_GUEST_MODULES_H

/*
 * Loads what `list` names: one path of an uncompressed module per line, in the order to load them. A module
 * that fails costs a line on the console; a missing list means that there is nothing to load.
 */
void modules_load(const char *list);

#endif
