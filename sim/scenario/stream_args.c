// SPDX-License-Identifier: Apache-2.0
// Arguments of an op: one reader per letter of replay_ops.def, then what the letters cannot say (table of
// limits and a few rules that tie arguments together).
#include "sim/scenario/stream_parse.h"

#include <string.h>

#define WORD(span) (int)((span).size < 60 ? (span).size : 60), (span).at

#define GPA_END (1ull << 46) // Host physical width of the modelled processors.
#define PAGE_BYTES 4096u

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

bool stream_number(struct span word, struct number *number)
{
    const char *at = word.at, *end = at + word.size;
    int base = 10;
    if (end - at > 2 && at[0] == '0' && (at[1] == 'x' || at[1] == 'X')) {
        base = 16;
        at += 2;
    }
    const char *first = at;
    uint64_t value = 0;
    while (at < end &&
           (digit_of(*at) < base || (*at == '_' && at > first && at + 1 < end && digit_of(at[1]) < base))) {
        if (*at != '_' && (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
                           __builtin_add_overflow(value, (uint64_t)digit_of(*at), &value))) {
            return false;
        }
        at++;
    }
    struct span unit = span_of(at, (size_t)(end - at));
    number->value = value;
    if (at == first) {
        return false;
    }
    if (unit.size == 0) {
        number->unit = UNIT_NONE;
    } else if (span_is(unit, "ns")) {
        number->unit = UNIT_NS;
    } else if (span_is(unit, "us")) {
        number->unit = UNIT_US;
    } else if (span_is(unit, "ms")) {
        number->unit = UNIT_MS;
    } else {
        return false;
    }
    return true;
}

static uint64_t ns_per(enum unit unit)
{
    return unit == UNIT_MS ? 1000000 : unit == UNIT_US ? 1000 : 1;
}

static bool too_long(struct parser *p, struct span word, const char *what)
{
    return stream_fail(p, word.at, "%s '%.*s' is too long; the most is %llu", what, WORD(word),
                       (unsigned long long)STREAM_GAP_MAX);
}

bool stream_time_ns(struct parser *p, struct span word, const char *what, bool unit_needed, uint64_t *ns)
{
    struct number n;
    if (!stream_number(word, &n) || (unit_needed && n.unit == UNIT_NONE)) {
        return stream_fail(p, word.at,
                           "%s '%.*s' is not a time; expected a number with ns, us or ms, such as 40us", what,
                           WORD(word));
    }
    if (__builtin_mul_overflow(n.value, ns_per(n.unit), ns) || *ns > STREAM_GAP_MAX) {
        return too_long(p, word, what);
    }
    return true;
}

bool stream_time(struct parser *p, struct span word, const char *what, uint32_t khz, uint64_t *cycles)
{
    struct number n;
    if (!stream_number(word, &n)) {
        return stream_fail(p, word.at,
                           "%s '%.*s' is not a time; expected cycles, or a number with ns, us or ms", what,
                           WORD(word));
    }
    if (n.unit == UNIT_NONE) {
        *cycles = n.value;
    } else {
        uint64_t ns;
        if (__builtin_mul_overflow(n.value, ns_per(n.unit), &ns) || ns > STREAM_GAP_MAX) {
            return too_long(p, word, what);
        }
        // Rounded to the nearest cycle. 2^48 * 10^8 needs more than 64 bits.
        *cycles = (uint64_t)(((unsigned __int128)ns * khz + 500000) / 1000000);
    }
    return *cycles <= STREAM_GAP_MAX || too_long(p, word, what);
}

bool stream_rip(struct parser *p, struct span word, const char *at, uint64_t *rip)
{
    struct number n;
    if (!stream_number(word, &n) || n.unit != UNIT_NONE) {
        return stream_fail(p, at, "'%.*s' is not an address; expected something like rip=0xffffffff81000000",
                           WORD(word));
    }
    // Canonical with 57 bits of linear address (SDM vol. 1, 3.3.7.1).
    uint64_t top = n.value >> 56;
    if (top != 0 && top != 0xff) {
        return stream_fail(p, at, "rip 0x%llx is not canonical; bits 63:56 must all be equal",
                           (unsigned long long)n.value);
    }
    *rip = n.value;
    return true;
}

static bool plain(struct parser *p, struct span word, const char *what, uint64_t max, uint64_t *value)
{
    struct number n;
    if (!stream_number(word, &n) || n.unit != UNIT_NONE) {
        return stream_fail(p, word.at, "%s '%.*s' is not a number; expected decimal or 0x hexadecimal", what,
                           WORD(word));
    }
    if (n.value > max) {
        return stream_fail(p, word.at, "%s %.*s is too big; the most is 0x%llx", what, WORD(word),
                           (unsigned long long)max);
    }
    *value = n.value;
    return true;
}

// A number, or a name of the table.
static bool named(struct parser *p, struct span word, const char *what, const struct stream_names *names,
                  uint64_t *value)
{
    if (word.at[0] >= '0' && word.at[0] <= '9') {
        return plain(p, word, what, UINT32_MAX, value);
    }
    const struct stream_name *row = stream_name_find(names, word);
    if (row != NULL) {
        *value = row->value;
        return true;
    }
    struct stream_nearest nearest;
    stream_nearest_begin(&nearest, word);
    stream_nearest_offer_all(&nearest, names);
    if (nearest.best.size == 0) {
        return stream_fail(p, word.at, "unknown %s '%.*s'; expected a name of the manual, or a number", what,
                           WORD(word));
    }
    return stream_fail(p, word.at, "unknown %s '%.*s'; did you mean %.*s?", what, WORD(word),
                       WORD(nearest.best));
}

bool stream_vector(struct parser *p, struct span word, uint64_t *vector)
{
    return plain(p, word, "vector", 255, vector);
}

static bool arg_port(struct parser *p, struct span word, uint64_t *value)
{
    return plain(p, word, "I/O port", 0xffff, value);
}

static bool arg_size(struct parser *p, struct span word, uint64_t *value)
{
    if (!plain(p, word, "size", UINT64_MAX, value)) {
        return false;
    }
    return *value == 1 || *value == 2 || *value == 4 || *value == 8 ||
           stream_fail(p, word.at, "no access has size %.*s; expected 1, 2, 4 or 8 bytes", WORD(word));
}

static bool arg_gpa(struct parser *p, struct span word, uint64_t *value)
{
    return plain(p, word, "guest physical address", GPA_END - 1, value);
}

static bool arg_cr(struct parser *p, struct span word, uint64_t *value)
{
    if (word.size == 3 && word.at[0] == 'c' && word.at[1] == 'r' && word.at[2] >= '0' && word.at[2] <= '9') {
        *value = (uint64_t)(word.at[2] - '0');
    } else if (!plain(p, word, "control register", UINT64_MAX, value)) {
        return false;
    }
    return *value == 0 || *value == 3 || *value == 4 || *value == 8 ||
           stream_fail(p, word.at, "no access to '%.*s' can exit; expected cr0, cr3, cr4 or cr8", WORD(word));
}

// Exits that the guest does not cause by what it executes next (SDM 25.2, 25.5.1, 25.5.2).
static const char *const asynchronous[] = {
    "EXCEPTION_NMI", "EXTERNAL_INTERRUPT",  "INIT_SIGNAL", "SIPI_SIGNAL",      "IO_SMI",
    "OTHER_SMI",     "INTERRUPT_WINDOW",    "NMI_WINDOW",  "PREEMPTION_TIMER", "MONITOR_TRAP_FLAG",
    "PML_FULL",      "TPR_BELOW_THRESHOLD", "BUS_LOCK",    "NOTIFY",
};

static bool arg_reason(struct parser *p, struct span word, uint64_t *value)
{
    if (!named(p, word, "exit reason", &stream_exit_reasons, value)) {
        return false;
    }
    const struct stream_name *row = stream_name_of(&stream_exit_reasons, (uint32_t)*value);
    if (row == NULL) {
        return stream_fail(p, word.at, "no exit has the reason %.*s", WORD(word));
    }
    for (size_t i = 0; i < sizeof(asynchronous) / sizeof(asynchronous)[0]; i++) {
        if (strcmp(row->name, asynchronous[i]) == 0) {
            return true;
        }
    }
    return stream_fail(
        p, word.at,
        "await %s would wait for ever: the guest causes that exit by an instruction; write the "
        "instruction instead",
        row->name);
}

static bool add_fixup(struct parser *p, struct span name, enum fixup_kind kind, unsigned arg)
{
    if (name.size == 0) {
        return stream_fail(p, name.at, "a name is missing here");
    }
    if (!stream_grow(p, (void **)&p->fixups, p->fixup_count, &p->fixup_capacity, sizeof(*p->fixups))) {
        return false;
    }
    const struct section *s = &p->sections[p->section_count - 1];
    p->fixups[p->fixup_count++] = (struct fixup){
        .name = name,
        .line = p->line,
        .column = stream_column(p, name.at),
        .index = p->in_handler ? s->handlers.count | HANDLER_INDEX : s->main.count,
        .loop = p->depth > 0 ? p->open[p->depth - 1].id : NO_LOOP,
        .body = (uint16_t)(p->in_handler ? p->vector + 1 : 0),
        .section = (uint8_t)(p->section_count - 1),
        .arg = (uint8_t)arg,
        .kind = kind,
    };
    return true;
}

static bool has_prefix(struct span word, const char *prefix, struct span *rest)
{
    size_t size = strlen(prefix);
    if (word.size < size || memcmp(word.at, prefix, size) != 0) {
        return false;
    }
    *rest = span_of(word.at + size, word.size - size);
    return true;
}

// A plain number, or one of the special forms that this op allows in this place.
static bool arg_number(struct parser *p, struct replay_op *op, struct span word, unsigned arg)
{
    struct span rest;
    if (op->kind == REPLAY_WRMSR && has_prefix(word, "tsc+", &rest)) {
        op->flags |= REPLAY_ARG1_TSC_RELATIVE;
        return stream_time(p, rest, "TSC offset", p->target.tsc_khz, &op->args[arg]);
    }
    if (op->kind == REPLAY_MSI) {
        return stream_time_ns(p, word, "gap of the device", false, &op->args[arg]);
    }
    if (op->kind == REPLAY_VMWRITE && has_prefix(word, "stream:", &rest)) {
        return add_fixup(p, rest, FIXUP_STREAM, arg);
    }
    if (op->kind == REPLAY_VMWRITE && has_prefix(word, "label:", &rest)) {
        return add_fixup(p, rest, FIXUP_RIP, arg);
    }
    return plain(p, word, "value", UINT64_MAX, &op->args[arg]);
}

static bool read_arg(struct parser *p, struct replay_op *op, char letter, struct span word, unsigned arg)
{
    uint64_t *value = &op->args[arg];
    switch (letter) {
    case 'n':
        return arg_number(p, op, word, arg);
    case 'm':
        return named(p, word, "MSR", &stream_msrs, value);
    case 'f':
        return named(p, word, "VMCS field", &stream_vmcs_fields, value);
    case 'r':
        return arg_reason(p, word, value);
    case 'p':
        return arg_port(p, word, value);
    case 's':
        return arg_size(p, word, value);
    case 'g':
        // Linear addresses may be any; the processor says which are canonical.
        if (p->target.linear &&
            (op->kind == REPLAY_READ || op->kind == REPLAY_WRITE || op->kind == REPLAY_FETCH))
            return plain(p, word, "linear address", UINT64_MAX, value);
        return arg_gpa(p, word, value);
    case 'v':
        return stream_vector(p, word, value);
    case 'c':
        return arg_cr(p, word, value);
    default: // 'l'
        return add_fixup(p, word, FIXUP_JUMP, arg);
    }
}

// The most that an argument may be, where its letter allows more than the instruction's operand holds.
static const struct {
    enum replay_op_kind kind;
    unsigned arg;
    uint64_t max;
    const char *what;
} limits[] = {
    {REPLAY_CPUID, 0, UINT32_MAX, "CPUID leaf"},      {REPLAY_CPUID, 1, UINT32_MAX, "CPUID subleaf"},
    {REPLAY_IN, 1, 4, "size of an I/O access"},       {REPLAY_IN, 2, UINT32_MAX, "repeat count"},
    {REPLAY_OUT, 1, 4, "size of an I/O access"},      {REPLAY_OUT, 3, UINT32_MAX, "repeat count"},
    {REPLAY_PAUSE, 0, UINT32_MAX, "count of PAUSEs"}, {REPLAY_LMSW, 0, 0xffff, "machine status word"},
    {REPLAY_MOVTODR, 0, 7, "debug register"},         {REPLAY_MOVFROMDR, 0, 7, "debug register"},
    {REPLAY_XSETBV, 0, UINT32_MAX, "XCR number"},     {REPLAY_RDPMC, 0, UINT32_MAX, "counter number"},
    {REPLAY_LGDT, 1, 0xffff, "table limit"},          {REPLAY_TASKSWITCH, 0, 0xffff, "selector"},
    {REPLAY_EXCEPTION, 0, 31, "exception vector"},    {REPLAY_EXCEPTION, 1, UINT32_MAX, "error code"},
    {REPLAY_VMREAD, 0, UINT32_MAX, "VMCS encoding"},
};

static bool check_limits(struct parser *p, const struct replay_op *op, const struct span *words,
                         unsigned count)
{
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits)[0]; i++) {
        if (limits[i].kind == op->kind && limits[i].arg < count && op->args[limits[i].arg] > limits[i].max) {
            return stream_fail(p, words[limits[i].arg].at, "%s %.*s is too big; the most is %llu",
                               limits[i].what, WORD(words[limits[i].arg]), (unsigned long long)limits[i].max);
        }
    }
    return true;
}

static bool fits(struct parser *p, uint64_t value, uint64_t size, struct span word)
{
    return size >= 8 || value >> (8 * size) == 0 ||
           stream_fail(p, word.at, "value %.*s does not fit in %llu byte%s", WORD(word),
                       (unsigned long long)size, size == 1 ? "" : "s");
}

static bool check_io(struct parser *p, const struct replay_op *op, const struct span *words, unsigned count)
{
    if (op->args[0] + op->args[1] > 0x10000) {
        return stream_fail(p, words[0].at,
                           "an access of %llu bytes at port %.*s goes past the last port, 0xffff",
                           (unsigned long long)op->args[1], WORD(words[0]));
    }
    return op->kind != REPLAY_OUT || count < 3 || fits(p, op->args[2], op->args[1], words[2]);
}

static bool check_memory(struct parser *p, struct replay_op *op, const struct span *words, unsigned count)
{
    if (count < 2) {
        op->args[1] = 4;
    }
    if (op->args[0] % PAGE_BYTES + op->args[1] > PAGE_BYTES) {
        return stream_fail(p, words[0].at,
                           "an access of %llu bytes at %.*s crosses a page; write one access for each page",
                           (unsigned long long)op->args[1], WORD(words[0]));
    }
    return count < 3 || fits(p, op->args[2], op->args[1], words[2]);
}

// Vectors that push an error code, and those that no event of the processor has (SDM 6.13, table 6-1).
#define VECTORS_WITH_ERROR_CODE (1u << 8 | 0x1fu << 10 | 1u << 17 | 1u << 21)
#define VECTORS_RESERVED (1u << 9 | 1u << 15 | 0xffc00000u)

static bool check_exception(struct parser *p, const struct replay_op *op, const struct span *words,
                            unsigned count)
{
    uint32_t bit = 1u << op->args[0];
    if (op->args[0] == 2) {
        return stream_fail(p, words[0].at, "vector 2 is no exception; expected the word nmi");
    }
    if (bit & VECTORS_RESERVED) {
        return stream_fail(p, words[0].at, "no exception has the reserved vector %.*s (SDM table 6-1)",
                           WORD(words[0]));
    }
    if (count > 1 && op->args[1] != 0 && !(bit & VECTORS_WITH_ERROR_CODE)) {
        return stream_fail(p, words[1].at, "exception %.*s has no error code (SDM 6.13); expected 0 here",
                           WORD(words[0]));
    }
    return true;
}

static bool check_at_least(struct parser *p, uint64_t value, uint64_t min, struct span word, const char *why)
{
    return value >= min || stream_fail(p, word.at, "vector %.*s is impossible: %s; expected %llu to 255",
                                       WORD(word), why, (unsigned long long)min);
}

static bool check_branch(struct parser *p, const struct replay_op *op, const struct span *words)
{
    return (op->args[2] & ~op->args[1]) == 0 ||
           stream_fail(p, words[2].at,
                       "value %.*s has bits outside of the mask %.*s, so the branch is never taken",
                       WORD(words[2]), WORD(words[1]));
}

// Rules that tie arguments together; the others have none.
static bool check_rules(struct parser *p, struct replay_op *op, const struct span *words, unsigned count)
{
    switch ((int)op->kind) {
    case REPLAY_IN:
    case REPLAY_OUT:
        return check_io(p, op, words, count);
    case REPLAY_READ:
    case REPLAY_WRITE:
    case REPLAY_XADD:
    case REPLAY_XCHG:
    case REPLAY_CMPXCHG:
        return check_memory(p, op, words, count);
    case REPLAY_EXCEPTION:
        return check_exception(p, op, words, count);
    case REPLAY_INTR:
        return check_at_least(p, op->args[0], 32, words[0], "0 to 31 are exceptions (SDM 6.2)");
    case REPLAY_MSI:
        return check_at_least(p, op->args[0], 16, words[0], "a local APIC refuses 0 to 15 (SDM 10.5.2)");
    case REPLAY_MOVTOCR:
        return op->args[0] != 8 || op->args[1] <= 15 ||
               stream_fail(p, words[1].at, "cr8 holds a task priority of 0 to 15, not %.*s", WORD(words[1]));
    case REPLAY_LOOP:
        return count == 0 || op->args[0] != 0 ||
               stream_fail(p, words[0].at,
                           "a loop of 0 rounds does nothing; expected 1 or more, or no count for ever");
    case REPLAY_BRANCH:
        return check_branch(p, op, words);
    default:
        return true;
    }
}

static const char *letter_text(char letter)
{
    static const struct {
        char letter;
        const char *text;
    } texts[] = {
        {'m', "an MSR"},       {'p', "an I/O port"},
        {'s', "a size"},       {'g', "a guest physical address"},
        {'v', "a vector"},     {'c', "a control register"},
        {'f', "a VMCS field"}, {'r', "an exit reason"},
        {'l', "a label"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts)[0]; i++) {
        if (texts[i].letter == letter) {
            return texts[i].text;
        }
    }
    return "a number";
}

bool stream_args(struct parser *p, struct replay_op *op, const struct span *words, unsigned count,
                 const char *end)
{
    const struct stream_op_info *info = &stream_op_infos[op->kind];
    if (count > info->max) {
        return stream_fail(p, words[info->max].at, "'%.*s' is one argument too many; %s takes %s%u",
                           WORD(words[info->max]), info->word, info->min == info->max ? "" : "at most ",
                           info->max);
    }
    if (count < info->min) {
        return stream_fail(p, end, "%s needs %s here", info->word, letter_text(info->args[count]));
    }
    for (unsigned i = 0; i < count; i++) {
        if (!read_arg(p, op, info->args[i], words[i], i)) {
            return false;
        }
    }
    return check_limits(p, op, words, count) && check_rules(p, op, words, count);
}
