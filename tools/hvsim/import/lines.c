// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/import/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool lines_begin(struct lines *lines, int fd)
{
    *lines = (struct lines){.fd = fd, .buffer = malloc(LINES_BUFFER)};
    return lines->buffer != NULL;
}

void lines_end(struct lines *lines)
{
    free(lines->buffer);
    lines->buffer = NULL;
}

// Moves the unread part to the front and reads once. False if nothing came.
static bool refill(struct lines *lines)
{
    if (lines->at_end) {
        return false;
    }
    memmove(lines->buffer, lines->buffer + lines->begin, lines->end - lines->begin);
    lines->end -= lines->begin;
    lines->begin = 0;
    ssize_t got;
    do {
        got = read(lines->fd, lines->buffer + lines->end, LINES_BUFFER - lines->end);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        lines->error = got < 0 ? errno : 0;
        lines->at_end = true;
        return false;
    }
    lines->end += (size_t)got;
    return true;
}

struct span lines_peek(struct lines *lines, size_t want)
{
    while (lines->end - lines->begin < want && refill(lines)) {
    }
    size_t have = lines->end - lines->begin;
    return span_of(lines->buffer + lines->begin, have < want ? have : want);
}

// Drops bytes up to and with the next newline.
static void drop_rest(struct lines *lines)
{
    for (;;) {
        size_t have = lines->end - lines->begin;
        char *newline = have > 0 ? memchr(lines->buffer + lines->begin, '\n', have) : NULL;
        size_t drop = newline == NULL ? have : (size_t)(newline - (lines->buffer + lines->begin)) + 1;
        lines->begin += drop;
        lines->bytes += drop;
        if (newline != NULL || !refill(lines)) {
            return;
        }
    }
}

bool lines_next(struct lines *lines, struct span *line)
{
    if (lines->drop_pending) {
        lines->drop_pending = false;
        drop_rest(lines);
    }
    char *newline;
    size_t have, searched = 0;
    for (;;) {
        have = lines->end - lines->begin;
        newline =
            have > searched ? memchr(lines->buffer + lines->begin + searched, '\n', have - searched) : NULL;
        if (newline != NULL || have > LINES_LINE_MAX || !refill(lines)) {
            break;
        }
        searched = have;
    }
    if (have == 0) {
        return false;
    }
    char *text = lines->buffer + lines->begin;
    size_t size = newline == NULL ? have : (size_t)(newline - text);
    size_t taken = newline == NULL ? have : size + 1;
    if (size > LINES_LINE_MAX) {
        lines->cut_count++;
        size = LINES_LINE_MAX;
        // The text must stay where it is until the next call; only then the rest is read past.
        lines->drop_pending = newline == NULL;
    }
    if (size > 0 && text[size - 1] == '\r') {
        size--;
    }
    *line = span_of(text, size);
    lines->begin += taken;
    lines->bytes += taken;
    lines->count++;
    return true;
}
