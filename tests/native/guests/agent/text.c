/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

void *memcpy(void *to, const void *from, size_t length)
{
    void *at = to;
    size_t words = length / 4;
    size_t bytes = length % 4;
    __asm__ volatile("rep movsl" : "+D"(at), "+S"(from), "+c"(words) : : "memory");
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(bytes) : : "memory");
    return to;
}

void *memset(void *to, int byte, size_t length)
{
    void *at = to;
    size_t words = length / 4;
    size_t bytes = length % 4;
    uint32_t word = (uint8_t)byte * 0x01010101u;
    __asm__ volatile("rep stosl" : "+D"(at), "+c"(words) : "a"(word) : "memory");
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(word) : "memory");
    return to;
}

size_t strlen(const char *text)
{
    size_t left = SIZE_MAX;
    __asm__ volatile("repne scasb" : "+D"(text), "+c"(left) : "a"(0) : "cc", "memory");
    return SIZE_MAX - left - 1;
}

char *scan(char *at, const char *end, char byte)
{
    size_t left = (size_t)(end - at);
    bool found = false;
    if (left > 0)
        __asm__ volatile("repne scasb" : "+D"(at), "+c"(left), "=@ccz"(found) : "a"(byte) : "memory");
    return at - found;
}

bool same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

const char *after(const char *text, const char *start)
{
    while (*start != '\0') {
        if (*text++ != *start++)
            return NULL;
    }
    return text;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool take_number(const char **text, uint32_t *out)
{
    const char *at = *text;
    uint32_t number = 0;
    if (!is_digit(*at))
        return false;
    for (; is_digit(*at); at++) {
        uint32_t digit = (uint32_t)(*at - '0');
        number = number > (UINT32_MAX - digit) / 10 ? UINT32_MAX : number * 10 + digit;
    }
    *text = at;
    *out = number;
    return true;
}

bool take_seconds(const char **text, uint32_t *out)
{
    uint32_t number;
    if (!take_number(text, &number))
        return false;
    *out = number > UINT32_MAX / 1000 - 1 ? UINT32_MAX : number * 1000;
    if (**text == '.') {
        uint32_t unit = 100;
        for ((*text)++; is_digit(**text); (*text)++, unit /= 10)
            *out += *out == UINT32_MAX ? 0 : (uint32_t)(**text - '0') * unit;
    }
    return true;
}

void put_bytes(struct text *text, const void *data, size_t length)
{
    size_t room = (size_t)(text->end - text->at);
    if (length > room)
        length = room;
    memcpy(text->at, data, length);
    text->at += length;
}

void put_number(struct text *text, int64_t number)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    uint32_t high = (uint32_t)(rest >> 32);
    uint32_t low = (uint32_t)rest;
    do { /* 64 bits by 10, in two steps of 32: there is no library that has it */
        uint32_t digit = high % 10;
        high /= 10;
        __asm__("divl %2" : "+a"(low), "+d"(digit) : "r"(10u) : "cc");
        digits[--at] = (char)('0' + digit);
    } while (high != 0 || low != 0);
    if (number < 0)
        digits[--at] = '-';
    put_bytes(text, digits + at, sizeof digits - at);
}

void put_escaped(struct text *text, const char *more, size_t length)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        char c = more[i];
        if (c == '"' || c == '\\')
            put_bytes(text, (char[2]){'\\', c}, 2);
        else if (c == '\n')
            put_bytes(text, "\\n", 2);
        else if ((uint8_t)c < ' ')
            put_bytes(text, (char[6]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        else if (text->at < text->end)
            *text->at++ = c;
    }
}

void put_string(struct text *text, const char *more)
{
    put(text, "\"");
    put_escaped(text, more, strlen(more));
    put(text, "\"");
}

/* Two characters for each 12 bits. */
static uint16_t pairs[4096];

static char character(uint32_t value)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    return alphabet[value];
}

void base64_prepare(void)
{
    for (uint32_t i = 0; i < 4096; i++)
        pairs[i] = (uint16_t)(character(i >> 6) | character(i & 63) << 8);
}

void put_base64(struct text *text, const uint8_t *data, size_t length)
{
    if ((size_t)(text->end - text->at) < (length + 2) / 3 * 4)
        return;
    uint16_t *out = (uint16_t *)text->at;
    for (; length >= 3; length -= 3, data += 3) {
        uint32_t bits = (uint32_t)data[0] << 16 | (uint32_t)data[1] << 8 | data[2];
        *out++ = pairs[bits >> 12];
        *out++ = pairs[bits & 4095];
    }
    if (length > 0) {
        uint32_t bits = (uint32_t)data[0] << 16 | (length > 1 ? (uint32_t)data[1] << 8 : 0);
        *out++ = pairs[bits >> 12];
        *out++ = length > 1 ? (uint16_t)(character(bits >> 6 & 63) | '=' << 8) : (uint16_t)('=' | '=' << 8);
    }
    text->at = (char *)out;
}

static int32_t digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (is_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int32_t base64_decode(char *text)
{
    uint32_t bits = 0;
    uint32_t count = 0;
    char *out = text;
    for (const char *at = text; *at != '\0' && *at != '='; at++) {
        int32_t value = digit_value(*at);
        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        if (++count % 4 != 1)
            *out++ = (char)(bits >> (4 - count % 4) * 2 % 8);
    }
    return (int32_t)(out - text);
}
