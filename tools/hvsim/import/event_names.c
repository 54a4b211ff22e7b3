// SPDX-License-Identifier: Apache-2.0
// Exit reason names: VMX's, older spellings of them, and both sets of SVM names (spec/svm_exit_names.def).
#include "tools/hvsim/import/event.h"

#include "spec/exit_reasons.h"

#include <stdlib.h>
#include <string.h>

struct name_row {
    const char *name;
    uint32_t reason, svm_code;
};

// clang-format off
static const struct name_row rows[] = {
#define EXIT_REASON(number, name, qualification, section) {#name, number, UINT32_MAX},
#include "spec/exit_reasons.def"
#define SVM_EXIT(code, kernel, plugin, vmx) {kernel, EXIT_REASON_##vmx, code}, {plugin, EXIT_REASON_##vmx, code},
#define SVM_EXIT_ONLY(code, kernel, plugin) {kernel, REASON_UNKNOWN, code}, {plugin, REASON_UNKNOWN, code},
#include "spec/svm_exit_names.def"
    // Spellings of other kernel versions.
    {"PENDING_INTERRUPT", EXIT_REASON_INTERRUPT_WINDOW, UINT32_MAX},
    {"VMXOFF", EXIT_REASON_VMOFF, UINT32_MAX},
    {"VMXON", EXIT_REASON_VMON, UINT32_MAX},
    {"MWAIT", EXIT_REASON_MWAIT_INSTRUCTION, UINT32_MAX},
    {"MONITOR", EXIT_REASON_MONITOR_INSTRUCTION, UINT32_MAX},
    {"PAUSE", EXIT_REASON_PAUSE_INSTRUCTION, UINT32_MAX},
};
// clang-format on

#define SLOTS 1024u // A power of two, well above the rows.

struct event_names {
    const struct name_row *slots[SLOTS];
};

static uint32_t hash(struct span name)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.size; i++) {
        h = (h ^ (unsigned char)name.at[i]) * 16777619u;
    }
    return h ^ h >> 15;
}

struct event_names *event_names_new(void)
{
    struct event_names *names = calloc(1, sizeof(*names));
    for (size_t i = 0; names != NULL && i < sizeof(rows) / sizeof(rows)[0]; i++) {
        if (rows[i].name[0] == 0) {
            continue;
        }
        uint32_t slot = hash(span_of(rows[i].name, strlen(rows[i].name))) % SLOTS;
        while (names->slots[slot] != NULL) {
            slot = (slot + 1) % SLOTS;
        }
        names->slots[slot] = &rows[i];
    }
    return names;
}

void event_names_free(struct event_names *names)
{
    free(names);
}

bool event_names_find(const struct event_names *names, struct span name, uint32_t *reason, uint32_t *svm_code)
{
    if (name.size == 0 || name.size > 64) {
        return false;
    }
    for (uint32_t slot = hash(name) % SLOTS; names->slots[slot] != NULL; slot = (slot + 1) % SLOTS) {
        const struct name_row *row = names->slots[slot];
        if (span_is(name, row->name)) {
            *reason = row->reason;
            *svm_code = row->svm_code;
            return true;
        }
    }
    return false;
}
