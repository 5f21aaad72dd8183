/* SPDX-License-Identifier: Apache-2.0 */
/* A 16550A that only transmits: the guest's console, written to a log. */
#ifndef FORKD_DEVICES_SERIAL_H
#define FORKD_DEVICES_SERIAL_H

#include "devices/virtio.h"

#include <stdint.h>

#define SERIAL_SECTION "serial"
#define SERIAL_BUFFER_SIZE 256u
#define SERIAL_LOG_MOST (1u << 20)

struct serial {
    struct virtio_machine *machine; /* for its interrupt line */
    uint32_t gsi;
    int log_fd;        /* -1: discarded */
    int64_t log_start; /* where in the file our log begins; below 0: it is no file */
    int64_t log_most;  /* bytes of it that are kept; SERIAL_LOG_MOST at first */
    uint8_t interrupt_enable;
    uint8_t line_control;
    uint8_t modem_control;
    uint8_t scratch;
    uint8_t fifo_control;
    uint8_t divisor_low;
    uint8_t divisor_high;
    bool transmit_pending; /* the "transmitter empty" interrupt is due */
    bool line;             /* level of the interrupt line */
    uint32_t buffered;
    char buffer[SERIAL_BUFFER_SIZE];
};

void serial_init(struct serial *serial, struct virtio_machine *machine, uint32_t gsi, int log_fd);
/* Log there: a descriptor with O_RDWR | O_APPEND, which stays the caller's. In a file the log is kept below
 * log_most bytes; what the file had before stays. */
void serial_log_to(struct serial *serial, int log_fd);
uint8_t serial_read(struct serial *serial, uint16_t offset);
void serial_write(struct serial *serial, uint16_t offset, uint8_t value);
/* Write out what is buffered. */
void serial_flush(struct serial *serial);

void serial_save(const struct serial *serial, struct vmstate_writer *writer);
int serial_restore(struct serial *serial, const struct vmstate_reader *reader, struct forkd_error *err);
/* The machine runs again after a restore: raise the line where an interrupt was pending. */
void serial_resume(struct serial *serial);

#endif
