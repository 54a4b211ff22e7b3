// SPDX-License-Identifier: Apache-2.0
// What stands before an event's name. The forms, from the right end:
//
//   [comm-tid | comm pid[/tid]] [flags] [[cpu]] [flags] seconds.fraction: [kvm:]kvm_name:
//
// with a date in front of perf's and a "(tgid)" column in ftrace's. Everything but the name may be missing.
#include "tools/hvsim/import/event.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span trim(struct span s)
{
    while (s.size > 0 && is_blank(s.at[0])) {
        s.at++;
        s.size--;
    }
    while (s.size > 0 && is_blank(s.at[s.size - 1])) {
        s.size--;
    }
    return s;
}

struct span event_unquote(struct span line)
{
    line = trim(line);
    while (line.size > 0 && (line.at[0] == '>' || line.at[0] == '|')) {
        line.at++;
        line.size--;
        line = trim(line);
    }
    return line;
}

// By its rarest letter: memmem() would set up tables for each line, and most lines have no such event at all.
const char *event_find(struct span line)
{
    const char *at = line.at + 1, *end = line.at + line.size;
    while (at < end) {
        const char *v = memchr(at, 'v', (size_t)(end - at));
        if (v == NULL || end - v < 4) {
            return NULL;
        }
        at = v + 1;
        if (v[-1] != 'k' || v[1] != 'm' || v[2] != '_') {
            continue;
        }
        const char *hit = v - 1, *stop = v + 3;
        while (stop < end && is_name_char(*stop)) {
            stop++;
        }
        bool starts = hit == line.at || is_blank(hit[-1]) || hit[-1] == ':';
        if (starts && stop < end && *stop == ':' && stop > hit + 4) {
            return hit;
        }
        at = stop;
    }
    return NULL;
}

// A time stamp "digits.digits:" ending at `end` (behind the colon). Returns its first byte, or NULL.
static const char *time_before(const char *begin, const char *end)
{
    const char *at = end;
    if (at == begin || at[-1] != ':') {
        return NULL;
    }
    at--;
    const char *last = at;
    while (at > begin && is_digit(at[-1])) {
        at--;
    }
    if (at == last || at == begin || at[-1] != '.') {
        return NULL;
    }
    const char *point = --at;
    while (at > begin && is_digit(at[-1])) {
        at--;
    }
    return at < point && (at == begin || is_blank(at[-1])) ? at : NULL;
}

bool event_is_header_only(struct span line)
{
    if (line.size < 4) {
        return false;
    }
    if (line.at[line.size - 1] == ':') {
        return time_before(line.at, line.at + line.size) != NULL;
    }
    size_t i = line.size - 1;
    if (line.at[i] != ']') {
        return false;
    }
    while (i > 0 && is_digit(line.at[i - 1])) {
        i--;
    }
    return i < line.size - 1 && i > 1 && line.at[i - 1] == '[' && is_blank(line.at[i - 2]);
}

bool event_begins_line(struct span line)
{
    const char *at = line.at, *end = line.at + line.size;
    if (event_find(line) != NULL) {
        return true;
    }
    while (at < end) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        if (colon == NULL) {
            return false;
        }
        if (time_before(line.at, colon + 1) != NULL) {
            return true;
        }
        at = colon + 1;
    }
    return false;
}

// Seconds and a fraction of up to nine digits; more digits are cut.
static void read_time(struct span text, struct event *event)
{
    uint64_t seconds = 0, ns = 0;
    size_t i = 0;
    for (; i < text.size && is_digit(text.at[i]); i++) {
        if (__builtin_mul_overflow(seconds, (uint64_t)10, &seconds)) {
            return;
        }
        seconds += (uint64_t)(text.at[i] - '0');
    }
    unsigned digits = 0;
    for (i++; i < text.size && is_digit(text.at[i]) && digits < 9; i++, digits++) {
        ns = ns * 10 + (uint64_t)(text.at[i] - '0');
    }
    event->time_digits = digits;
    for (; digits < 9; digits++) {
        ns *= 10;
    }
    // A hundred years of seconds; what is more is no time stamp.
    if (seconds < 3200000000u) {
        event->has_time = true;
        event->time_ns = seconds * 1000000000u + ns;
    }
}

static bool read_tid(struct span digits, struct event *event)
{
    uint64_t value = 0;
    if (digits.size == 0 || digits.size > 10) {
        return false;
    }
    for (size_t i = 0; i < digits.size; i++) {
        if (!is_digit(digits.at[i])) {
            return false;
        }
        value = value * 10 + (uint64_t)(digits.at[i] - '0');
    }
    if (value > UINT32_MAX) {
        return false;
    }
    event->tid = (uint32_t)value;
    event->has_tid = true;
    return true;
}

// The part behind the last `c`, or an empty span at the end.
static struct span after_last(struct span s, char c)
{
    const char *hit = s.size > 0 ? memrchr(s.at, c, s.size) : NULL;
    return hit == NULL ? span_of(s.at + s.size, 0) : span_of(hit + 1, (size_t)(s.at + s.size - hit - 1));
}

// "2021-12-12 16:11:10.214139 " in front of perf's lines.
static struct span drop_date(struct span s)
{
    bool date = s.size > 27 && is_digit(s.at[0]) && s.at[4] == '-' && s.at[7] == '-' && s.at[10] == ' ' &&
                s.at[13] == ':' && s.at[16] == ':';
    if (!date) {
        return s;
    }
    size_t i = 11;
    while (i < s.size && !is_blank(s.at[i])) {
        i++;
    }
    return trim(span_of(s.at + i, s.size - i));
}

static bool is_flags(struct span word)
{
    bool other = false;
    for (size_t i = 0; i < word.size; i++) {
        char c = word.at[i];
        if (!(c == '.' || c == '#' || is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) {
            return false;
        }
        other = other || !is_digit(c);
    }
    return word.size > 0 && word.size <= 8 && other;
}

// Task name and thread id, in trace-cmd's and ftrace's form (comm-tid) or perf's (comm pid[/tid] [flags]).
static void read_task(struct span s, struct event *event)
{
    s = drop_date(trim(s));
    if (s.size > 2 && s.at[s.size - 1] == ')') { // ftrace's column of process ids.
        const char *open = memrchr(s.at, '(', s.size);
        if (open != NULL) {
            s = trim(span_of(s.at, (size_t)(open - s.at)));
        }
    }
    for (unsigned round = 0; round < 2 && s.size > 0; round++) {
        const char *blank = memrchr(s.at, ' ', s.size);
        struct span word = blank == NULL ? s : span_of(blank + 1, (size_t)(s.at + s.size - blank - 1));
        struct span rest = blank == NULL ? span_of(s.at, 0) : trim(span_of(s.at, (size_t)(blank - s.at)));
        struct span thread = after_last(word, '/');
        if (read_tid(word, event) || (is_digit(word.at[0]) && read_tid(thread, event))) {
            event->task = rest;
            return;
        }
        struct span tid = after_last(word, '-');
        if (read_tid(tid, event)) {
            event->task = span_of(s.at, (size_t)(tid.at - 1 - s.at));
            return;
        }
        if (!is_flags(word) || rest.size == 0) {
            return;
        }
        s = rest;
    }
}

void event_read_prefix(struct span prefix, struct event *event)
{
    prefix = trim(prefix);
    if (prefix.size >= 4 && memcmp(prefix.at + prefix.size - 4, "kvm:", 4) == 0) {
        prefix = trim(span_of(prefix.at, prefix.size - 4));
    }
    const char *end = prefix.at + prefix.size;
    const char *time = time_before(prefix.at, end);
    if (time != NULL) {
        read_time(span_of(time, (size_t)(end - 1 - time)), event);
        prefix = trim(span_of(prefix.at, (size_t)(time - prefix.at)));
    }
    if (prefix.size == 0) {
        return;
    }
    const char *close = memrchr(prefix.at, ']', prefix.size);
    if (close != NULL) {
        const char *open = memrchr(prefix.at, '[', (size_t)(close - prefix.at));
        bool cpu = open != NULL && close > open + 1;
        for (const char *c = open; cpu && ++c < close;) {
            cpu = is_digit(*c);
        }
        if (cpu) {
            prefix = span_of(prefix.at, (size_t)(open - prefix.at));
        }
    }
    read_task(prefix, event);
}
