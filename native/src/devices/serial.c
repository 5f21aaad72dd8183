/* SPDX-License-Identifier: Apache-2.0 */
/* Registers: TI PC16550D data sheet, section 8. */
#include "devices/serial.h"

#include "base/io.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTION_VERSION 1

enum {
    REG_DATA = 0,
    REG_IER = 1,
    REG_IIR_FCR = 2,
    REG_LCR = 3,
    REG_MCR = 4,
    REG_LSR = 5,
    REG_MSR = 6,
    REG_SCR = 7
};

#define IER_TRANSMIT 0x02u
#define IIR_NONE 0x01u
#define IIR_TRANSMIT 0x02u
#define IIR_FIFO 0xc0u
#define FCR_ENABLE 0x01u
#define LCR_DIVISOR 0x80u
#define MCR_LOOPBACK 0x10u
#define LSR_TRANSMIT_EMPTY 0x60u
/* Carrier, data set ready, clear to send: a terminal that is always there. */
#define MSR_CONNECTED 0xb0u

void serial_init(struct serial *serial, struct virtio_machine *machine, uint32_t gsi, int log_fd)
{
    *serial = (struct serial){.machine = machine, .gsi = gsi, .divisor_low = 1, .log_most = SERIAL_LOG_MOST};
    serial_log_to(serial, log_fd);
}

void serial_log_to(struct serial *serial, int log_fd)
{
    serial->log_fd = log_fd;
    serial->log_start = log_fd < 0 ? -1 : lseek(log_fd, 0, SEEK_END);
}

/* A console that cannot be written must not stop the guest: what does not fit is lost. */
static void append(const struct serial *serial, const void *text, size_t length)
{
    ssize_t ignored = write(serial->log_fd, text, length);
    (void)ignored;
}

/* The log is full: of what it has, the newer half stays, from the start of a line where there is one soon. So
 * the last words of a guest are there with what led to them, and one that talks for ever fills nobody's
 * memory (the log may lie in a tmpfs). */
static void cut_log(struct serial *serial, int64_t end)
{
    static const char note[] = "[forkd: the log was full; what came before was left out]\n";
    size_t kept = (size_t)serial->log_most / 2;
    char *newer = malloc(kept);
    size_t length = 0;
    const char *start = newer;
    if (newer != NULL && io_pread(serial->log_fd, newer, kept, (uint64_t)end - kept) == 0) {
        const char *newline = memchr(newer, '\n', kept / 2);
        start = newline != NULL ? newline + 1 : newer;
        length = kept - (size_t)(start - newer);
    }
    if (ftruncate(serial->log_fd, serial->log_start) == 0) {
        append(serial, note, sizeof note - 1);
        append(serial, start, length);
    } else {
        serial->log_fd = -1; /* a file that can only grow gets no more */
    }
    free(newer);
}

void serial_flush(struct serial *serial)
{
    if (serial->buffered > 0 && serial->log_fd >= 0) {
        append(serial, serial->buffer, serial->buffered);
        /* After a write the offset of an appending descriptor is the end of the file. */
        int64_t end = serial->log_start < 0 ? -1 : lseek(serial->log_fd, 0, SEEK_CUR);
        if (end - serial->log_start >= serial->log_most)
            cut_log(serial, end);
    }
    serial->buffered = 0;
}

static void update_line(struct serial *serial)
{
    bool level = serial->transmit_pending && (serial->interrupt_enable & IER_TRANSMIT) != 0;
    if (level == serial->line)
        return;
    serial->line = level;
    serial->machine->set_irq(serial->machine, serial->gsi, level);
}

static void transmit(struct serial *serial, uint8_t value)
{
    if ((serial->modem_control & MCR_LOOPBACK) != 0)
        return;
    serial->buffer[serial->buffered++] = (char)value;
    if (value == '\n' || serial->buffered == SERIAL_BUFFER_SIZE)
        serial_flush(serial);
}

uint8_t serial_read(struct serial *serial, uint16_t offset)
{
    bool divisor = (serial->line_control & LCR_DIVISOR) != 0;
    uint8_t value = 0;
    switch (offset) {
    case REG_DATA:
        return divisor ? serial->divisor_low : 0;
    case REG_IER:
        return divisor ? serial->divisor_high : serial->interrupt_enable;
    case REG_IIR_FCR:
        value = (serial->fifo_control & FCR_ENABLE) != 0 ? IIR_FIFO : 0;
        if (!serial->line)
            return value | IIR_NONE;
        serial->transmit_pending = false;
        update_line(serial);
        return value | IIR_TRANSMIT;
    case REG_LCR:
        return serial->line_control;
    case REG_MCR:
        return serial->modem_control;
    case REG_LSR:
        return LSR_TRANSMIT_EMPTY;
    case REG_MSR:
        /* In loopback the modem outputs are seen at the inputs: the driver's probe looks at that. */
        if ((serial->modem_control & MCR_LOOPBACK) != 0)
            return (uint8_t)(((serial->modem_control & 0x0cu) << 4) | ((serial->modem_control & 0x02u) << 3) |
                             ((serial->modem_control & 0x01u) << 5));
        return MSR_CONNECTED;
    case REG_SCR:
        return serial->scratch;
    default:
        return 0xff;
    }
}

void serial_write(struct serial *serial, uint16_t offset, uint8_t value)
{
    bool divisor = (serial->line_control & LCR_DIVISOR) != 0;
    switch (offset) {
    case REG_DATA:
        if (divisor) {
            serial->divisor_low = value;
            return;
        }
        serial->transmit_pending = false;
        update_line(serial);
        transmit(serial, value);
        serial->transmit_pending = true; /* sent at once */
        update_line(serial);
        return;
    case REG_IER:
        if (divisor) {
            serial->divisor_high = value;
            return;
        }
        if ((value & ~serial->interrupt_enable & IER_TRANSMIT) != 0)
            serial->transmit_pending = true;
        serial->interrupt_enable = value & 0x0f;
        update_line(serial);
        return;
    case REG_IIR_FCR:
        serial->fifo_control = value;
        return;
    case REG_LCR:
        serial->line_control = value;
        return;
    case REG_MCR:
        serial->modem_control = value;
        return;
    case REG_SCR:
        serial->scratch = value;
        return;
    default:
        return;
    }
}

void serial_save(const struct serial *serial, struct vmstate_writer *writer)
{
    vmstate_begin(writer, SERIAL_SECTION, 0, SECTION_VERSION);
    vmstate_put_u8(writer, serial->interrupt_enable);
    vmstate_put_u8(writer, serial->line_control);
    vmstate_put_u8(writer, serial->modem_control);
    vmstate_put_u8(writer, serial->scratch);
    vmstate_put_u8(writer, serial->fifo_control);
    vmstate_put_u8(writer, serial->divisor_low);
    vmstate_put_u8(writer, serial->divisor_high);
    vmstate_put_u8(writer, serial->transmit_pending ? 1 : 0);
    vmstate_end(writer);
}

int serial_restore(struct serial *serial, const struct vmstate_reader *reader, struct forkd_error *err)
{
    struct vmstate_section section;
    int result = vmstate_open(reader, SERIAL_SECTION, 0, SECTION_VERSION, &section, err);
    if (result < 0)
        return result;
    /* One that has been running lets go of its line, and has said what it said. */
    serial_flush(serial);
    serial->transmit_pending = false;
    update_line(serial);
    serial->interrupt_enable = vmstate_get_u8(&section);
    serial->line_control = vmstate_get_u8(&section);
    serial->modem_control = vmstate_get_u8(&section);
    serial->scratch = vmstate_get_u8(&section);
    serial->fifo_control = vmstate_get_u8(&section);
    serial->divisor_low = vmstate_get_u8(&section);
    serial->divisor_high = vmstate_get_u8(&section);
    serial->transmit_pending = vmstate_get_u8(&section) != 0;
    return vmstate_close(&section, err);
}

void serial_resume(struct serial *serial)
{
    serial->line = false;
    update_line(serial);
}
