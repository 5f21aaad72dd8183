/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables that describe the machine to a stock kernel: hardware-reduced, virtio-mmio devices, a
 * serial port, and VMGENID with a generic event device to announce its change. */
#ifndef FORKD_MACHINE_ACPI_H
#define FORKD_MACHINE_ACPI_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Write all tables into `area`, which the guest sees at `address`; the RSDP comes first. `virtio_count`
 * devices sit in the slots from 0. -ENOSPC when the area is too small.
 */
int acpi_build(uint8_t *area, size_t size, uint64_t address, uint32_t vcpu_count, uint32_t virtio_count,
               struct forkd_error *err);

#endif
