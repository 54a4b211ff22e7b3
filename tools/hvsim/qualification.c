// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/qualification.h"
#include "spec/exit_reasons.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct row {
    unsigned number;
    const char *name;
    enum exit_qualification_kind kind;
    const char *section;
} rows[] = {
#define EXIT_REASON(number, name, qualification, section) {number, #name, EXIT_QUAL_##qualification, section},
#include "spec/exit_reasons.def"
#undef EXIT_REASON
};

static const struct row *find(unsigned reason)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].number == reason)
            return &rows[i];
    return NULL;
}

const char *exit_section(unsigned reason)
{
    const struct row *r = find(reason);

    return r ? r->section : "";
}

const char *exit_reason_name(unsigned reason)
{
    const struct row *r = find(reason);

    return r ? r->name : "?";
}

int exit_reason_number(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return (int)rows[i].number;
    return -1;
}

const char *vmcs_field_name(unsigned encoding)
{
    switch (encoding) {
#define VMCS_FIELD(name, number, section)                                                                    \
    case number:                                                                                             \
        return #name;
#include "spec/vmcs_fields.def"
#undef VMCS_FIELD
    default:
        return "?";
    }
}

static const char *const gprs[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                   "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};

static void cr_access(uint64_t q, char *text, size_t size)
{
    unsigned cr = q & 15, type = q >> 4 & 3;
    const char *gpr = gprs[q >> 8 & 15];

    switch (type) {
    case 0:
        snprintf(text, size, "MOV CR%u, %s (table 27-3)", cr, gpr);
        break;
    case 1:
        snprintf(text, size, "MOV %s, CR%u (table 27-3)", gpr, cr);
        break;
    case 2:
        snprintf(text, size, "CLTS (table 27-3)");
        break;
    default:
        snprintf(text, size, "LMSW 0x%04x (table 27-3)", (unsigned)(q >> 16 & 0xffff));
    }
}

static void ept_violation(uint64_t q, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s; the entries allow %s%s%s%s (table 27-7)", q & 1 ? "read" : "",
             q & 2 ? "write" : "", q & 4 ? "fetch" : "", q & 8 ? "r" : "-", q & 16 ? "w" : "-",
             q & 32 ? "x" : "-",
             q & 128 ? (q & 256 ? "; for the access itself" : "; for a guest paging structure") : "");
}

static void io_access(uint64_t q, char *text, size_t size)
{
    snprintf(text, size, "%s port 0x%x, %u byte%s%s%s (table 27-5)", q & 8 ? "IN from" : "OUT to",
             (unsigned)(q >> 16 & 0xffff), (unsigned)(q & 7) + 1, q & 7 ? "s" : "", q & 16 ? ", string" : "",
             q & 32 ? ", REP" : "");
}

void qualification_text(unsigned reason, uint64_t q, char *text, size_t size)
{
    const struct row *r = find(reason);

    *text = 0;
    switch (r ? r->kind : EXIT_QUAL_NONE) {
    case EXIT_QUAL_CR_ACCESS:
        cr_access(q, text, size);
        break;
    case EXIT_QUAL_DR_ACCESS:
        snprintf(text, size, q & 16 ? "MOV %s, DR%u (table 27-4)" : "MOV to DR (%s), DR%u (table 27-4)",
                 gprs[q >> 8 & 15], (unsigned)(q & 7));
        break;
    case EXIT_QUAL_IO:
        io_access(q, text, size);
        break;
    case EXIT_QUAL_EPT_VIOLATION:
        ept_violation(q, text, size);
        break;
    case EXIT_QUAL_APIC_ACCESS:
        snprintf(text, size, "offset 0x%03x of the APIC page, access type %u (table 27-6)",
                 (unsigned)(q & 0xfff), (unsigned)(q >> 12 & 15));
        break;
    case EXIT_QUAL_EOI_VECTOR:
    case EXIT_QUAL_SIPI:
        snprintf(text, size, "vector 0x%02x", (unsigned)(q & 0xff));
        break;
    case EXIT_QUAL_APIC_OFFSET:
        snprintf(text, size, "write to offset 0x%03x", (unsigned)(q & 0xfff));
        break;
    case EXIT_QUAL_LINEAR_ADDRESS:
        snprintf(text, size, "linear address 0x%" PRIx64, q);
        break;
    case EXIT_QUAL_DISPLACEMENT:
        snprintf(text, size, "displacement 0x%" PRIx64, q);
        break;
    case EXIT_QUAL_TASK_SWITCH:
        snprintf(text, size, "selector 0x%04x, source %u (table 27-2)", (unsigned)(q & 0xffff),
                 (unsigned)(q >> 30 & 3));
        break;
    case EXIT_QUAL_ENTRY_FAILURE:
        snprintf(text, size, "entry failure, cause %u (26.8)", (unsigned)q);
        break;
    case EXIT_QUAL_MSR_LOAD:
        snprintf(text, size, "entry %u of the MSR-load area", (unsigned)q);
        break;
    case EXIT_QUAL_EXCEPTION:
    case EXIT_QUAL_IO_SMI:
    case EXIT_QUAL_MWAIT:
    case EXIT_QUAL_PML_FULL:
    case EXIT_QUAL_SPP:
        snprintf(text, size, "0x%" PRIx64, q);
        break;
    default:
        break;
    }
}
