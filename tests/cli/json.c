// SPDX-License-Identifier: Apache-2.0
/* Is a text one JSON value? By the grammar of RFC 8259, sections 2 to 7. */
#include "tests/cli/cli.h"

#include <ctype.h>
#include <string.h>

struct cursor {
    const char *at;
    const char *fault; // First place that does not fit; NULL while all is well.
};

static bool fault(struct cursor *c)
{
    if (!c->fault)
        c->fault = c->at;
    return false;
}

static void blanks(struct cursor *c)
{
    c->at += strspn(c->at, " \t\r\n");
}

static bool character(struct cursor *c, char wanted)
{
    blanks(c);
    return *c->at == wanted ? c->at++, true : false;
}

static bool string(struct cursor *c)
{
    if (!character(c, '"'))
        return fault(c);
    while (*c->at != '"') {
        if ((unsigned char)*c->at < 0x20) // Control characters and the end must not stand in a string.
            return fault(c);
        if (*c->at++ != '\\')
            continue;
        if (*c->at == 'u') {
            for (int digit = 1; digit <= 4; digit++)
                if (!isxdigit((unsigned char)c->at[digit]))
                    return fault(c);
            c->at += 5;
        } else if (*c->at && strchr("\"\\/bfnrt", *c->at)) {
            c->at++;
        } else {
            return fault(c);
        }
    }
    c->at++;
    return true;
}

static bool digits(struct cursor *c)
{
    size_t n = strspn(c->at, "0123456789");

    c->at += n;
    return n ? true : fault(c);
}

static bool number(struct cursor *c)
{
    if (*c->at == '-')
        c->at++;
    if (*c->at == '0')
        c->at++; // Nothing may follow a leading zero.
    else if (!digits(c))
        return false;
    if (*c->at == '.' && (c->at++, !digits(c)))
        return false;
    if (*c->at == 'e' || *c->at == 'E') {
        c->at++;
        if (*c->at == '+' || *c->at == '-')
            c->at++;
        return digits(c);
    }
    return true;
}

static bool value(struct cursor *c, int depth);

static bool members(struct cursor *c, char end, int depth)
{
    if (character(c, end))
        return true;
    do {
        if (end == '}' && (!string(c) || !character(c, ':')))
            return fault(c);
        if (!value(c, depth + 1))
            return false;
    } while (character(c, ','));
    return character(c, end) ? true : fault(c);
}

static bool value(struct cursor *c, int depth)
{
    static const char *const words[] = {"true", "false", "null"};

    blanks(c);
    if (depth > 100)
        return fault(c);
    if (*c->at == '"')
        return string(c);
    if (*c->at == '{' || *c->at == '[')
        return members(c, *c->at++ == '{' ? '}' : ']', depth);
    for (size_t i = 0; i < 3; i++) {
        if (strncmp(c->at, words[i], strlen(words[i])) == 0) {
            c->at += strlen(words[i]);
            return true;
        }
    }
    return *c->at == '-' || isdigit((unsigned char)*c->at) ? number(c) : fault(c);
}

const char *json_fault(const char *text)
{
    struct cursor c = {text, NULL};

    if (value(&c, 0)) {
        blanks(&c);
        if (*c.at)
            fault(&c);
    }
    return c.fault;
}
