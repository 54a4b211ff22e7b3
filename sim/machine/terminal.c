// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/terminal.h"
#include "hv/hw/board.h"
#include "spec/console_input.h"
#include "traces/digest.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(SCENARIO_VMS_MAX <= BOARD_INPUT_VMS, "each VM has a port");
_Static_assert(CONSOLE_PAUSE_MS_MAX <= CONSOLE_INPUT_MS_MAX, "each pause can be told");

#define INPUT_BYTES_MAX (256u << 20)

static int load_input(struct terminal *t, const struct scenario *s, uint32_t vm, struct user_error *e)
{
    char field[64];

    snprintf(field, sizeof field, "vms[%u].program.input", vm);
    if (image_read(s->vms[vm].program->input, field, &t->file, e))
        return -1;
    if (t->file.size > INPUT_BYTES_MAX)
        return user_error_at(e, t->file.path, 0, field, "is larger than %u MiB: nobody types so much",
                             INPUT_BYTES_MAX >> 20);
    t->whole = (struct console_step){.bytes = t->file.bytes, .size = (uint32_t)t->file.size};
    t->steps = &t->whole;
    t->step_count = 1;
    return 0;
}

int terminals_load(struct terminal_set *set, const struct scenario *s, struct user_error *e)
{
    *set = (struct terminal_set){.vms = calloc(s->vm_count, sizeof *set->vms), .vm_count = s->vm_count};
    if (!set->vms)
        abort();
    for (uint32_t i = 0; i < s->vm_count; i++) {
        const struct scenario_program *p = s->vms[i].program;

        if (p && p->input && load_input(&set->vms[i], s, i, e))
            return -1;
        if (!p || p->input)
            continue;
        set->vms[i].steps = p->typing.steps;
        set->vms[i].step_count = p->typing.step_count;
    }
    return 0;
}

void terminals_free(struct terminal_set *set)
{
    for (uint32_t i = 0; i < set->vm_count; i++) {
        image_file_free(&set->vms[i].file);
        free(set->vms[i].shown);
    }
    free(set->vms);
    *set = (struct terminal_set){0};
}

void terminals_reset(struct terminal_set *set)
{
    for (uint32_t i = 0; i < set->vm_count; i++) {
        struct terminal *t = &set->vms[i];

        t->step = t->offset = 0;
        t->replies = false;
        t->shown_size = 0;
    }
}

// --- In a run.

static const struct console_step *current(const struct terminal *t)
{
    return t->step < t->step_count ? &t->steps[t->step] : NULL;
}

void terminals_show(struct terminal_set *set, uint32_t vm, uint8_t byte)
{
    struct terminal *t = vm < set->vm_count ? &set->vms[vm] : NULL;

    if (!t || t->step == t->step_count || t->steps == &t->whole)
        return;
    if (t->shown_size == t->shown_room) {
        t->shown_room = t->shown_room ? 2 * t->shown_room : 4096;
        t->shown = realloc(t->shown, t->shown_room);
        if (!t->shown)
            abort();
    }
    t->shown[t->shown_size++] = byte;
}

// Looks through what is shown for the text of `s`. What cannot begin it any more is forgotten either way.
static bool find(struct terminal *t, const struct console_step *s)
{
    const uint8_t *found = memmem(t->shown, t->shown_size, s->bytes, s->size);
    size_t used = found ? (size_t)(found - t->shown) + s->size
                        : t->shown_size - (t->shown_size < s->size ? t->shown_size : s->size - 1);

    t->shown_size -= used;
    memmove(t->shown, t->shown + used, t->shown_size);
    return found != NULL;
}

uint32_t terminals_type(struct terminal_set *set, uint32_t vm)
{
    struct terminal *t = vm < set->vm_count ? &set->vms[vm] : NULL;
    const struct console_step *s = t ? current(t) : NULL;

    while (s && s->waits) {
        if (t->shown_size == 0 || !find(t, s))
            return CONSOLE_INPUT_NONE;
        t->step++;
        t->replies = true;
        s = current(t);
    }
    if (!s)
        return CONSOLE_INPUT_NONE;
    uint32_t word = console_input_word(s->bytes[t->offset], t->replies ? TERMINAL_REPLY_CHARACTERS : 0,
                                       t->offset ? 0 : (uint16_t)s->pause_ms);

    t->replies = false;
    if (++t->offset == s->size) {
        t->step++;
        t->offset = 0;
    }
    return word;
}

// --- Telling.

// Bytes that are typed from where it stands to the end.
static uint64_t bytes_left(const struct terminal *t, uint32_t step, uint32_t offset)
{
    uint64_t bytes = 0;

    for (; step < t->step_count; step++, offset = 0)
        bytes += t->steps[step].waits ? 0 : t->steps[step].size - offset;
    return bytes;
}

// A text as a script's line has it, shortened.
static void print_text(const struct console_step *s, char *to, size_t size)
{
    size_t at = 0;

    for (uint32_t i = 0; i < s->size && at + 8 < size; i++) {
        uint8_t c = s->bytes[i];

        at += (size_t)snprintf(to + at, size - at, c >= 0x20 && c < 0x7f ? "%c" : "\\x%02x", c);
    }
    to[at] = 0;
}

bool terminals_left(const struct terminal_set *set, uint32_t vm, char *text, size_t size)
{
    const struct terminal *t = &set->vms[vm];
    const struct console_step *s = current(t);
    uint64_t bytes = bytes_left(t, t->step, t->offset);
    char waited[60];

    if (!s)
        return false;
    if (s->waits) {
        print_text(s, waited, sizeof waited);
        snprintf(text, size,
                 "line %" PRIu32 " of the script still waits for `%s`; %" PRIu64 " bytes were not typed",
                 s->line, waited, bytes);
    } else {
        snprintf(text, size,
                 "%" PRIu64
                 " bytes were not typed before the end; a guest gets them only while its 16550 says that "
                 "it is ready (RTS, bit 1 of MCR)",
                 bytes);
    }
    return true;
}

static struct trace_digest digest_steps(const struct terminal *t)
{
    struct digest d;

    digest_init(&d, 0);
    for (uint32_t i = 0; i < t->step_count; i++) {
        const struct console_step *s = &t->steps[i];
        struct trace_digest one = digest_bytes(s->bytes, s->size, s->waits);

        digest_two(&d, one.hi, one.lo);
        digest_two(&d, s->pause_ms, s->size);
    }
    return digest_value(&d);
}

void terminals_print(const struct terminal_set *set, const struct scenario *s, FILE *out)
{
    char digest[TRACE_DIGEST_TEXT];

    for (uint32_t i = 0; i < set->vm_count; i++) {
        const struct terminal *t = &set->vms[i];

        if (!t->step_count)
            continue;
        trace_digest_text(digest_steps(t), digest);
        fprintf(out, "%s%" PRIu64 " bytes typed at %s (digest %s)", ftell(out) ? ", " : "",
                bytes_left(t, 0, 0), s->vms[i].name, digest);
    }
}
