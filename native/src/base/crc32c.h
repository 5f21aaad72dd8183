/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli), the checksum of every file format of forkd. */
#ifndef FORKD_BASE_CRC32C_H
#define FORKD_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what `crc` stands for followed by `data`; start with 0. Uses SSE4.2 where there is. */
uint32_t crc32c(uint32_t crc, const void *data, size_t length);
/* The same, byte by byte; for processors without SSE4.2, and so that a test can compare both. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t length);

#endif
