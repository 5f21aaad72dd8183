/* SPDX-License-Identifier: Apache-2.0 */
#include "base64.h"

#include <errno.h>
#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const unsigned char *data, size_t length, char *out)
{
    while (length > 0) {
        size_t taken = length < 3 ? length : 3;
        uint32_t bits = (uint32_t)data[0] << 16;
        if (taken > 1)
            bits |= (uint32_t)data[1] << 8;
        if (taken > 2)
            bits |= data[2];
        out[0] = alphabet[bits >> 18];
        out[1] = alphabet[bits >> 12 & 63];
        out[2] = taken > 1 ? alphabet[bits >> 6 & 63] : '=';
        out[3] = taken > 2 ? alphabet[bits & 63] : '=';
        data += taken;
        length -= taken;
        out += 4;
    }
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

ssize_t base64_decode(const char *text, size_t length, unsigned char *out)
{
    size_t padding = 0;
    while (padding < 2 && length > 0 && text[length - 1] == '=') {
        length--;
        padding++;
    }
    if (padding > 0 && (length + padding) % 4 != 0)
        return -EINVAL;
    if (length % 4 == 1)
        return -EINVAL;
    unsigned char *start = out;
    uint32_t bits = 0;
    for (size_t i = 0; i < length; i++) {
        int value = value_of(text[i]);
        if (value < 0)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)value;
        switch (i % 4) {
        case 1:
            *out++ = (unsigned char)(bits >> 4);
            break;
        case 2:
            *out++ = (unsigned char)(bits >> 2);
            break;
        case 3:
            *out++ = (unsigned char)bits;
            break;
        default:
            break;
        }
    }
    if ((length % 4 == 2 && (bits & 15)) || (length % 4 == 3 && (bits & 3)))
        return -EINVAL;
    return out - start;
}
