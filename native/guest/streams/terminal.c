/* SPDX-License-Identifier: Apache-2.0 */
#include "streams/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* asm-generic/ioctls.h, which cannot be included beside sys/ioctl.h. */
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

int terminal_open(uint16_t rows, uint16_t columns, int *ours, int *theirs)
{
    struct termios settings;
    int status = 0;
    *theirs = -1;
    *ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (*ours < 0)
        return -errno;
    /* By descriptor: the guest may have mounted anything over /dev/pts. */
    if (unlockpt(*ours) < 0 || (*theirs = ioctl(*ours, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0)
        status = -errno;
    if (status == 0)
        status = terminal_resize(*ours, rows, columns);
    if (status == 0 && tcgetattr(*theirs, &settings) == 0) {
        settings.c_iflag |= IUTF8; /* so that the erase character takes a whole letter */
        tcsetattr(*theirs, TCSANOW, &settings);
    }
    if (status < 0) {
        close(*ours);
        if (*theirs >= 0)
            close(*theirs);
    }
    return status;
}

int terminal_resize(int fd, uint16_t rows, uint16_t columns)
{
    struct winsize size = {.ws_row = rows, .ws_col = columns};
    return ioctl(fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

unsigned char terminal_end_of_file(int fd)
{
    struct termios settings;
    return tcgetattr(fd, &settings) == 0 ? settings.c_cc[VEOF] : 4;
}
