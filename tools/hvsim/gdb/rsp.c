// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/gdb/rsp.h"

enum { BETWEEN, IN_TEXT, FIRST_DIGIT, SECOND_DIGIT };
#define CTRL_C 3
#define ESCAPE '}'
#define ESCAPE_BIT 0x20

static void begin(struct rsp *r)
{
    r->state = IN_TEXT;
    r->sum = 0;
    r->escape = r->too_long = false;
    r->length = 0;
}

static enum rsp_event between(struct rsp *r, uint8_t byte)
{
    if (byte == '$')
        begin(r);
    return byte == CTRL_C ? RSP_INTERRUPT : byte == '-' ? RSP_RESEND : RSP_NONE;
}

static void in_text(struct rsp *r, uint8_t byte)
{
    if (byte == '#') {
        r->state = FIRST_DIGIT;
        return;
    }
    r->sum = (uint8_t)(r->sum + byte);
    if (byte == ESCAPE && !r->escape) {
        r->escape = true;
        return;
    }
    if (r->length == RSP_TEXT_MAX) {
        r->too_long = true;
        return;
    }
    r->text[r->length++] = (char)(r->escape ? byte ^ ESCAPE_BIT : byte);
    r->escape = false;
}

enum rsp_event rsp_feed(struct rsp *r, uint8_t byte)
{
    int digit = rsp_digit((char)byte);

    switch (r->state) {
    case BETWEEN:
        return between(r, byte);
    case IN_TEXT:
        if (byte == '$') // The end of the last one was lost.
            begin(r);
        else
            in_text(r, byte);
        return RSP_NONE;
    case FIRST_DIGIT:
        r->sent_sum = (uint8_t)((unsigned)digit << 4);
        r->state = digit < 0 ? BETWEEN : SECOND_DIGIT;
        return digit < 0 ? RSP_BAD : RSP_NONE;
    default:
        r->state = BETWEEN;
        r->text[r->length] = 0;
        return digit < 0 || r->too_long || (uint8_t)(r->sent_sum | digit) != r->sum ? RSP_BAD : RSP_PACKET;
    }
}

size_t rsp_encode(char *out, const char *text, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    uint8_t sum = 0;

    out[at++] = '$';
    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        if (c == '$' || c == '#' || c == ESCAPE || c == '*') {
            out[at++] = ESCAPE;
            sum = (uint8_t)(sum + ESCAPE);
            c = (char)(c ^ ESCAPE_BIT);
        }
        out[at++] = c;
        sum = (uint8_t)(sum + (uint8_t)c);
    }
    out[at++] = '#';
    out[at++] = digits[sum >> 4];
    out[at++] = digits[sum & 15];
    return at;
}

int rsp_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool rsp_number(const char **at, uint64_t *value)
{
    const char *from = *at;

    *value = 0;
    for (; rsp_digit(**at) >= 0; ++*at) {
        if (*value >> 60)
            return false;
        *value = *value << 4 | (uint64_t)rsp_digit(**at);
    }
    return *at != from;
}

void rsp_hex(char *out, const void *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = bytes;

    for (size_t i = 0; i < size; i++) {
        *out++ = digits[b[i] >> 4];
        *out++ = digits[b[i] & 15];
    }
    *out = 0;
}

size_t rsp_bytes(const char *text, void *bytes, size_t max)
{
    uint8_t *to = bytes;
    size_t n = 0;

    while (n < max && rsp_digit(text[2 * n]) >= 0 && rsp_digit(text[2 * n + 1]) >= 0) {
        to[n] = (uint8_t)(rsp_digit(text[2 * n]) << 4 | rsp_digit(text[2 * n + 1]));
        n++;
    }
    return n;
}
