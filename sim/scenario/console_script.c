// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/console_script.h"
#include "sim/scenario/quantity.h"
#include "sim/scenario/user_error.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000u
#define TYPED_PER_LINE 100u // Bytes.

enum word { WORD_WAIT, WORD_TYPE, WORD_ENTER, WORD_PAUSE, WORDS };
static const char *const words[] = {
    [WORD_WAIT] = "wait", [WORD_TYPE] = "type", [WORD_ENTER] = "enter", [WORD_PAUSE] = "pause"};

struct parser {
    struct console_script *script;
    struct console_script_error *e;
    uint32_t line;
    uint32_t pause_ms, pause_line; // Before the next text; its line 0: none.
};

__attribute__((format(printf, 2, 3))) static int fail(struct parser *p, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(p->e->text, sizeof p->e->text, format, ap);
    va_end(ap);
    p->e->line = p->line;
    return -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// --- Texts.

// What stands behind a backslash; returns how many characters that is, 0: nothing that is known.
static size_t unescape(const char *at, size_t left, uint8_t *byte)
{
    static const char letters[] = "nrte\\\"", bytes[] = "\n\r\t\x1b\\\"";
    const char *found = left && *at ? strchr(letters, *at) : NULL;

    if (found) {
        *byte = (uint8_t)bytes[found - letters];
        return 1;
    }
    if (left < 3 || *at != 'x' || digit(at[1]) < 0 || digit(at[2]) < 0)
        return 0;
    *byte = (uint8_t)(digit(at[1]) << 4 | digit(at[2]));
    return 3;
}

// Behind the opening quote. `to` has room for all of it.
static int read_quoted(struct parser *p, const char *text, size_t length, uint8_t *to, uint32_t *size)
{
    size_t i = 0;

    while (i < length && text[i] != '"') {
        uint8_t byte = (uint8_t)text[i++];

        if (byte == '\\') {
            size_t used = unescape(text + i, length - i, &byte);

            if (!used)
                return fail(p, "unknown escape `\\%.*s`; there are \\n \\r \\t \\e \\\\ \\\" and \\xHH",
                            i < length ? 1 : 0, text + i);
            i += used;
        }
        to[(*size)++] = byte;
    }
    if (i == length)
        return fail(p, "the closing quote is missing");
    return i + 1 < length ? fail(p, "there is more behind the closing quote (a quote in the text is \\\")")
                          : 0;
}

static int add_step(struct parser *p, const char *text, size_t length, enum word word)
{
    struct console_script *s = p->script;
    struct console_step step = {.waits = word == WORD_WAIT, .pause_ms = p->pause_ms, .line = p->line};

    if (s->step_count == CONSOLE_STEPS_MAX)
        return fail(p, "more than %u steps", CONSOLE_STEPS_MAX);
    if (step.waits && p->pause_line) {
        p->line = p->pause_line;
        return fail(p, "a pause is made before something is typed: put it behind the `wait`");
    }
    if (s->step_count % 64 == 0)
        s->steps = realloc(s->steps, (s->step_count + 64) * sizeof *s->steps);
    step.bytes = malloc(length + 1);
    if (!s->steps || !step.bytes)
        abort();
    s->steps[s->step_count++] = step;
    struct console_step *to = &s->steps[s->step_count - 1];

    if (length && *text == '"') {
        if (read_quoted(p, text + 1, length - 1, to->bytes, &to->size))
            return -1;
    } else {
        memcpy(to->bytes, text, length);
        to->size = (uint32_t)length;
    }
    if (word == WORD_ENTER)
        to->bytes[to->size++] = '\r';
    p->pause_ms = p->pause_line = 0;
    return to->size ? 0 : fail(p, "`%s` wants a text", words[word]);
}

// --- Lines.

static int add_pause(struct parser *p, const char *text, size_t length)
{
    char time[40];
    uint64_t ns = 0;

    snprintf(time, sizeof time, "%.*s", (int)(length < sizeof time ? length : sizeof time - 1), text);
    if (!quantity_ns(time, &ns) || ns == 0 || ns % NS_PER_MS || ns / NS_PER_MS > CONSOLE_PAUSE_MS_MAX)
        return fail(p, "expected a time in whole milliseconds up to 60s, such as 20ms, got `%s`", time);
    if (p->pause_line)
        return fail(p, "there is a pause before this one already");
    p->pause_ms = (uint32_t)(ns / NS_PER_MS);
    p->pause_line = p->line;
    return 0;
}

static int parse_line(struct parser *p, const char *line, size_t length)
{
    size_t name = 0, at;
    char word[16];
    uint32_t w = 0;

    while (length && is_blank(*line))
        line++, length--;
    while (length && is_blank(line[length - 1]))
        length--;
    if (!length || *line == '#')
        return 0;
    while (name < length && !is_blank(line[name]))
        name++;
    for (at = name; at < length && is_blank(line[at]);)
        at++;
    snprintf(word, sizeof word, "%.*s", (int)(name < sizeof word ? name : sizeof word - 1), line);
    while (w < WORDS && (strlen(words[w]) != name || strncmp(words[w], line, name) != 0))
        w++;
    if (w == WORDS) {
        const char *near = nearest_word(word, words, WORDS);

        return fail(
            p, "unknown step `%s`%s%s%s; a line is `wait TEXT`, `type TEXT`, `enter TEXT` or `pause TIME`",
            word, near ? " (did you mean `" : "", near ? near : "", near ? "`?)" : "");
    }
    return w == WORD_PAUSE ? add_pause(p, line + at, length - at)
                           : add_step(p, line + at, length - at, (enum word)w);
}

int console_script_parse(const char *text, struct console_script *script, struct console_script_error *e)
{
    struct parser p = {.script = script, .e = e};

    *script = (struct console_script){0};
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = text + strcspn(text, "\n");
        p.line++;
        if (parse_line(&p, text, (size_t)(end - text)))
            return -1;
    }
    if (p.pause_line) {
        p.line = p.pause_line;
        return fail(&p, "nothing is typed behind this pause");
    }
    return 0;
}

void console_script_free(struct console_script *script)
{
    for (uint32_t i = 0; i < script->step_count; i++)
        free(script->steps[i].bytes);
    free(script->steps);
    *script = (struct console_script){0};
}

void console_script_type(FILE *out, const uint8_t *bytes, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++) {
        fputs(i % TYPED_PER_LINE ? "" : "type \"", out);
        if (bytes[i] == '\n')
            fputs("\\n", out);
        else if (bytes[i] == '"' || bytes[i] == '\\')
            fprintf(out, "\\%c", bytes[i]);
        else if (bytes[i] < 0x20 || bytes[i] >= 0x7f)
            fprintf(out, "\\x%02x", bytes[i]);
        else
            fputc(bytes[i], out);
        fputs((i + 1) % TYPED_PER_LINE && i + 1 < size ? "" : "\"\n", out);
    }
}
