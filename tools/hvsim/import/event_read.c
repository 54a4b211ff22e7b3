// SPDX-License-Identifier: Apache-2.0
// Payloads of tracepoints. The kernel's formats grew over the years, so readers go by the word before each
// number and skip words which they do not know.
#include "tools/hvsim/import/event.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct scan {
    const char *at, *end;
};

static inline struct span next_word(struct scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t')) {
        scan->at++;
    }
    const char *first = scan->at;
    while (scan->at < scan->end && *scan->at != ' ' && *scan->at != '\t') {
        scan->at++;
    }
    return span_of(first, (size_t)(scan->at - first));
}

// One more than the digit's value, so that other characters are 0. A table, because digits and letters
// alternate in a way that no branch predictor learns.
static const uint8_t hex_digits[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

static inline struct span without_mark(struct span word)
{
    while (word.size > 0) {
        char last = word.at[word.size - 1];
        if (last != ',' && last != ':' && last != ';') {
            break;
        }
        word.size--;
    }
    return word;
}

// Hexadecimal with or without 0x; a comma, colon or semicolon may follow.
static inline bool hex(struct span word, uint64_t *value)
{
    word = without_mark(word);
    if (word.size > 2 && word.at[0] == '0' && (word.at[1] == 'x' || word.at[1] == 'X')) {
        word.at += 2;
        word.size -= 2;
    }
    if (word.size == 0 || word.size > 16) {
        return false;
    }
    uint64_t got = 0;
    for (size_t i = 0; i < word.size; i++) {
        unsigned digit = hex_digits[(unsigned char)word.at[i]];
        if (digit == 0) {
            return false;
        }
        got = got << 4 | (digit - 1);
    }
    *value = got;
    return true;
}

static bool decimal(struct span word, uint64_t *value)
{
    word = without_mark(word);
    if (word.size == 0 || word.size > 18) {
        return false;
    }
    uint64_t got = 0;
    for (size_t i = 0; i < word.size; i++) {
        if (word.at[i] < '0' || word.at[i] > '9') {
            return false;
        }
        got = got * 10 + (uint64_t)(word.at[i] - '0');
    }
    *value = got;
    return true;
}

static bool next_hex(struct scan *scan, uint64_t *value)
{
    return hex(next_word(scan), value);
}

static bool next_decimal(struct scan *scan, uint64_t *value)
{
    return decimal(next_word(scan), value);
}

typedef enum event_status reader(const struct event_names *names, struct scan *scan, struct event *event,
                                 const char **why);

static enum event_status shortage(const char **why, const char *what)
{
    *why = what;
    return EVENT_SHORT;
}

static enum event_status bad(const char **why, const char *what)
{
    *why = what;
    return EVENT_BAD;
}

static bool set_vcpu(struct scan *scan, struct event *event)
{
    uint64_t value;
    if (!next_decimal(scan, &value) || value > 4095) {
        return false;
    }
    event->vcpu = (int32_t)value;
    return true;
}

// A keyed number of kvm_exit and kvm_nested_vmexit.
struct exit_key {
    struct span word;
    size_t value, present; // Offsets in struct event.
};

#define EXIT_KEY(word, value, present)                                                                       \
    {                                                                                                        \
        {word, sizeof(word) - 1}, offsetof(struct event, value), offsetof(struct event, present)             \
    }

static const struct exit_key exit_keys[] = {
    EXIT_KEY("rip", rip, has_rip),
    EXIT_KEY("rip:", rip, has_rip),
    EXIT_KEY("info1", info1, has_info1),
    EXIT_KEY("info2", info2, has_info2),
    EXIT_KEY("intr_info", intr_info, has_intr_info),
    EXIT_KEY("int_info", intr_info, has_intr_info),
    EXIT_KEY("error_code", error_code, has_error_code),
    EXIT_KEY("int_info_err", error_code, has_error_code),
};

static const struct exit_key *find_key(struct span word)
{
    for (size_t i = 0; i < sizeof(exit_keys) / sizeof(exit_keys)[0]; i++) {
        if (span_equal(word, exit_keys[i].word)) {
            return &exit_keys[i];
        }
    }
    return NULL;
}

static bool read_key(struct scan *scan, const struct exit_key *key, struct event *event)
{
    uint64_t value;
    if (!next_hex(scan, &value)) {
        return false;
    }
    memcpy((char *)event + key->value, &value, sizeof(value));
    *(bool *)((char *)event + key->present) = true;
    return true;
}

// The words from "reason" to the next key are the name ("PF excp", "INVALID_STATE FAILED_VMENTRY").
static void read_reason(const struct event_names *names, struct scan *scan, struct event *event)
{
    struct span name = next_word(scan);
    for (;;) {
        struct scan ahead = *scan;
        struct span word = next_word(&ahead);
        if (word.size == 0 || find_key(word) != NULL || span_is(word, "info")) {
            break;
        }
        name.size = (size_t)(word.at + word.size - name.at);
        *scan = ahead;
    }
    event->reason_text = name;
    if (event_names_find(names, name, &event->exit_reason, &event->svm_code)) {
        return;
    }
    const char *blank = memchr(name.at, ' ', name.size);
    const char *bar = blank == NULL ? memchr(name.at, '|', name.size) : blank;
    uint64_t number;
    if (bar != NULL && event_names_find(names, span_of(name.at, (size_t)(bar - name.at)), &event->exit_reason,
                                        &event->svm_code)) {
        return;
    }
    if (name.size > 2 && name.at[1] == 'x' && hex(name, &number) && number < 0x10000) {
        event->exit_reason = (uint32_t)number;
    }
}

// "TRAP: HSR_EC: 0x0018 (SYS64), PC: 0x..." and "IRQ: HSR_EC: 0x0000 (UNKNOWN), PC: 0x...".
static enum event_status read_exit_arm64(struct scan *scan, struct span kind, struct event *event,
                                         const char **why)
{
    event->exit_reason = REASON_ARM64;
    event->reason_text = span_of(kind.at, kind.size - 1);
    for (struct span word = next_word(scan); word.size > 0; word = next_word(scan)) {
        if (span_is(word, "HSR_EC:") || span_is(word, "ESR_EC:")) {
            event->has_info1 = next_hex(scan, &event->info1);
        } else if (word.at[0] == '(' && span_is(event->reason_text, "TRAP")) {
            size_t size = word.size - 1;
            while (size > 0 && (word.at[size] == ')' || word.at[size] == ',')) {
                size--;
            }
            event->reason_text = span_of(word.at + 1, size);
        } else if (span_is(word, "PC:")) {
            event->has_rip = next_hex(scan, &event->rip);
        }
    }
    return event->has_rip ? EVENT_OK : shortage(why, "kvm_exit ends before the PC");
}

static bool is_arm64_kind(struct span word)
{
    bool good = word.size > 2 && word.at[word.size - 1] == ':';
    for (size_t i = 0; good && i + 1 < word.size; i++) {
        good = (word.at[i] >= 'A' && word.at[i] <= 'Z') || word.at[i] == '_';
    }
    return good && !span_is(word, "PC:");
}

static enum event_status read_exit(const struct event_names *names, struct scan *scan, struct event *event,
                                   const char **why)
{
    bool has_info = false;
    for (struct span word = next_word(scan); word.size > 0; word = next_word(scan)) {
        const struct exit_key *key = find_key(word);
        if (span_is(word, "vcpu")) {
            if (!set_vcpu(scan, event)) {
                return bad(why, "the number after vcpu cannot be read");
            }
        } else if (span_is(word, "reason")) {
            read_reason(names, scan, event);
        } else if (span_is(word, "info")) {
            event->has_info1 = next_hex(scan, &event->info1);
            has_info = event->has_info2 = next_hex(scan, &event->info2);
            if (!has_info) {
                return shortage(why, "kvm_exit ends before the second number of info");
            }
        } else if (key != NULL) {
            if (!read_key(scan, key, event)) {
                return scan->at == scan->end ? shortage(why, "kvm_exit ends before a number")
                                             : bad(why, "a number of kvm_exit cannot be read");
            }
        } else if (event->reason_text.size == 0 && is_arm64_kind(word)) {
            return read_exit_arm64(scan, word, event, why);
        }
    }
    if (event->reason_text.size == 0) {
        return shortage(why, "kvm_exit without a reason");
    }
    event->unfinished = !event->has_error_code && !has_info;
    return event->has_rip ? EVENT_OK : shortage(why, "kvm_exit ends before the rip");
}

static enum event_status read_entry(const struct event_names *names, struct scan *scan, struct event *event,
                                    const char **why)
{
    (void)names;
    for (struct span word = next_word(scan); word.size > 0; word = next_word(scan)) {
        if (span_is(word, "vcpu")) {
            if (!set_vcpu(scan, event)) {
                return scan->at == scan->end ? shortage(why, "kvm_entry ends before the vcpu")
                                             : bad(why, "the number after vcpu cannot be read");
            }
        } else if (span_is(word, "rip") || span_is(word, "rip:") || span_is(word, "PC:")) {
            event->has_rip = next_hex(scan, &event->rip);
            if (!event->has_rip) {
                return shortage(why, "kvm_entry ends before the rip");
            }
        }
    }
    event->unfinished = !event->has_rip;
    return event->has_rip || event->vcpu >= 0 ? EVENT_OK
                                              : shortage(why, "kvm_entry with neither vcpu nor rip");
}

// "msr_write 6e0 = 0x4dcfc45840": address is the MSR.
static enum event_status read_msr(const struct event_names *names, struct scan *scan, struct event *event,
                                  const char **why)
{
    (void)names;
    struct span verb = next_word(scan);
    event->is_write = span_is(verb, "msr_write");
    if (!event->is_write && !span_is(verb, "msr_read")) {
        return verb.size == 0 ? shortage(why, "kvm_msr is empty")
                              : bad(why, "kvm_msr is neither read nor write");
    }
    bool good =
        next_hex(scan, &event->address) && span_is(next_word(scan), "=") && next_hex(scan, &event->value);
    event->has_value = good;
    return good ? EVENT_OK : shortage(why, "kvm_msr ends before the value");
}

// Fields of kvm_mmio, kvm_fast_mmio, kvm_pio and kvm_page_fault, each after its word.
static void read_access(struct scan *scan, struct event *event, bool *has_address)
{
    for (struct span word = next_word(scan); word.size > 0; word = next_word(scan)) {
        if (span_is(word, "gpa") || span_is(word, "at") || span_is(word, "address")) {
            struct scan ahead = *scan;
            if (span_is(next_word(&ahead), "gpa")) {
                continue; // "fast mmio at gpa 0x..."
            }
            *has_address = next_hex(scan, &event->address);
        } else if (span_is(word, "len") || span_is(word, "size")) {
            (void)next_decimal(scan, &event->size);
        } else if (span_is(word, "val")) {
            event->has_value = next_hex(scan, &event->value);
        } else if (span_is(word, "count")) {
            (void)next_decimal(scan, &event->args[0]);
        } else if (span_is(word, "error_code")) {
            event->has_error_code = next_hex(scan, &event->error_code);
        } else if (span_is(word, "vcpu")) {
            (void)set_vcpu(scan, event);
        } else if (span_is(word, "rip")) {
            event->has_rip = next_hex(scan, &event->rip);
        }
    }
}

// "mmio write len 4 gpa 0xfec00000 val 0x26", "mmio unsatisfied-read len ...".
static enum event_status read_mmio(const struct event_names *names, struct scan *scan, struct event *event,
                                   const char **why)
{
    (void)names;
    (void)next_word(scan);
    event->is_write = span_is(next_word(scan), "write");
    bool has_address = false;
    read_access(scan, event, &has_address);
    event->unfinished = !event->has_value;
    return has_address ? EVENT_OK : shortage(why, "kvm_mmio ends before the gpa");
}

static enum event_status read_fast_mmio(const struct event_names *names, struct scan *scan,
                                        struct event *event, const char **why)
{
    (void)names;
    bool has_address = false;
    event->is_write = true;
    read_access(scan, event, &has_address);
    return has_address ? EVENT_OK : shortage(why, "kvm_fast_mmio ends before the gpa");
}

// "pio_write at 0x3f8 size 1 count 1 val 0x41": args[0] is the count.
static enum event_status read_pio(const struct event_names *names, struct scan *scan, struct event *event,
                                  const char **why)
{
    (void)names;
    bool has_address = false;
    event->is_write = span_is(next_word(scan), "pio_write");
    read_access(scan, event, &has_address);
    return has_address && event->size > 0 ? EVENT_OK : shortage(why, "kvm_pio ends before the size");
}

static enum event_status read_page_fault(const struct event_names *names, struct scan *scan,
                                         struct event *event, const char **why)
{
    (void)names;
    bool has_address = false;
    read_access(scan, event, &has_address);
    return has_address && event->has_error_code ? EVENT_OK
                                                : shortage(why, "kvm_page_fault ends before the error code");
}

// "func 7 idx 0 rax ...": args[0] leaf, args[1] subleaf.
static enum event_status read_cpuid(const struct event_names *names, struct scan *scan, struct event *event,
                                    const char **why)
{
    (void)names;
    bool has_leaf = false;
    for (struct span word = next_word(scan); word.size > 0; word = next_word(scan)) {
        if (span_is(word, "func")) {
            has_leaf = next_hex(scan, &event->args[0]);
        } else if (span_is(word, "idx")) {
            (void)next_hex(scan, &event->args[1]);
        }
    }
    return has_leaf ? EVENT_OK : shortage(why, "kvm_cpuid ends before the function");
}

// "cr_write 3 = 0x1000": address is the register.
static enum event_status read_cr(const struct event_names *names, struct scan *scan, struct event *event,
                                 const char **why)
{
    (void)names;
    event->is_write = span_is(next_word(scan), "cr_write");
    bool good =
        next_hex(scan, &event->address) && span_is(next_word(scan), "=") && next_hex(scan, &event->value);
    event->has_value = good;
    return good ? EVENT_OK : shortage(why, "kvm_cr ends before the value");
}

// "nr 0x1 a0 0x0 a1 0x0 a2 0x0 a3 0x0".
static enum event_status read_hypercall(const struct event_names *names, struct scan *scan,
                                        struct event *event, const char **why)
{
    (void)names;
    static const char *const words[] = {"nr", "a0", "a1", "a2", "a3"};
    bool has_number = false;
    for (struct span word = next_word(scan); word.size > 0; word = next_word(scan)) {
        for (unsigned i = 0; i < 5; i++) {
            if (span_is(word, words[i]) && next_hex(scan, &event->args[i]) && i == 0) {
                has_number = true;
            }
        }
    }
    return has_number ? EVENT_OK : shortage(why, "kvm_hypercall ends before the number");
}

// "apic_write APIC_TMICT = 0x1000".
static enum event_status read_apic(const struct event_names *names, struct scan *scan, struct event *event,
                                   const char **why)
{
    (void)names;
    event->is_write = span_is(next_word(scan), "apic_write");
    (void)next_word(scan);
    bool good = span_is(next_word(scan), "=") && next_hex(scan, &event->value);
    event->has_value = good;
    return good ? EVENT_OK : shortage(why, "kvm_apic ends before the value");
}

// "apicid 0 vector 43" and "apicid 0 vec 236 (Fixed|edge)": args[0] is the APIC id.
static enum event_status read_eoi(const struct event_names *names, struct scan *scan, struct event *event,
                                  const char **why)
{
    (void)names;
    uint64_t vector = 256;
    event->args[0] = UINT64_MAX;
    for (struct span word = next_word(scan); word.size > 0; word = next_word(scan)) {
        if (span_is(word, "apicid")) {
            (void)next_hex(scan, &event->args[0]);
        } else if (span_is(word, "vector") || span_is(word, "vec")) {
            (void)next_decimal(scan, &vector);
        }
    }
    event->vector = (uint32_t)vector;
    return vector < 256 ? EVENT_OK : shortage(why, "the vector is missing or more than 255");
}

static enum event_status read_accept_irq(const struct event_names *names, struct scan *scan,
                                         struct event *event, const char **why)
{
    return read_eoi(names, scan, event, why);
}

// "vcpu 0: delta 12280 (late)": value is what the TSC had passed the deadline by, two's complement.
static enum event_status read_wait_lapic_expire(const struct event_names *names, struct scan *scan,
                                                struct event *event, const char **why)
{
    (void)names;
    for (struct span word = next_word(scan); word.size > 0; word = next_word(scan)) {
        if (span_is(word, "vcpu")) {
            (void)set_vcpu(scan, event);
        } else if (span_is(word, "delta")) {
            struct span number = next_word(scan);
            bool minus = number.size > 0 && number.at[0] == '-';
            event->has_value = decimal(span_of(number.at + minus, number.size - minus), &event->value);
            event->value = minus ? 0 - event->value : event->value;
        }
    }
    return event->has_value ? EVENT_OK : shortage(why, "kvm_wait_lapic_expire ends before the delta");
}

static enum event_status read_none(const struct event_names *names, struct scan *scan, struct event *event,
                                   const char **why)
{
    (void)names;
    (void)scan;
    (void)event;
    (void)why;
    return EVENT_OK;
}

static const struct {
    struct span name;
    reader *read;
} tracepoints[] = {
    [EVENT_NONE] = {{"", 0}, read_none},
#define KVM_EVENT(name, reader_) [EVENT_##name] = {{#name, sizeof(#name) - 1}, read_##reader_},
#include "tools/hvsim/import/kvm_events.def"
#undef KVM_EVENT
    [EVENT_OTHER] = {{"", 0}, read_none},
};

enum event_status event_read_payload(const struct event_names *names, struct span payload,
                                     struct event *event, const char **why)
{
    struct scan scan = {payload.at, payload.at + payload.size};
    return tracepoints[event->kind].read(names, &scan, event, why);
}

enum event_status event_read(const struct event_names *names, struct span line, const char *at,
                             struct event *event, const char **why)
{
    const char *end = line.at + line.size;
    const char *colon = memchr(at, ':', (size_t)(end - at));
    assert(colon != NULL);
    struct span name = span_of(at + 4, (size_t)(colon - at) - 4);
    memset(event, 0, sizeof(*event));
    event->kind = EVENT_OTHER;
    event->vcpu = -1;
    event->svm_code = UINT32_MAX;
    event->exit_reason = REASON_UNKNOWN;
    for (unsigned i = EVENT_NONE + 1; i < EVENT_OTHER; i++) {
        if (span_equal(name, tracepoints[i].name)) {
            event->kind = (enum event_kind)i;
            break;
        }
    }
    if (event->kind == EVENT_OTHER) {
        return EVENT_OK;
    }
    event_read_prefix(span_of(line.at, (size_t)(at - line.at)), event);
    return event_read_payload(names, span_of(colon + 1, (size_t)(end - colon) - 1), event, why);
}
