// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/gdb/regs.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct row {
    const char *feature; // Not NULL: begins it
    const char *name, *type;
    unsigned bits;
    size_t offset;
};
static const struct row rows[] = {
#define FEATURE(name) {name, NULL, NULL, 0, 0},
#define REG(name, bits, type, field) {NULL, name, type, bits, offsetof(struct gdb_regs, field)},
#include "tools/hvsim/gdb/regs.def"
};
#define ROWS (sizeof rows / sizeof *rows)

unsigned gdb_reg_count(void)
{
    unsigned count = 0;

    for (size_t i = 0; i < ROWS; i++)
        count += !rows[i].feature;
    return count;
}

const void *gdb_reg(const struct gdb_regs *r, unsigned n, size_t *size)
{
    size_t i = 0;

    for (;; i++)
        if (!rows[i].feature && n-- == 0)
            break;
    *size = rows[i].bits / 8;
    return (const char *)r + rows[i].offset;
}

// --- The target description [GDB manual, appendix "Target Descriptions"]. ---

static const char types_core[] =
    "<flags id=\"i386_eflags\" size=\"4\">"
    "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
    "<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
    "<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
    "<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
    "<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
    "<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
    "<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
    "<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>"
    "<field name=\"ID\" start=\"21\" end=\"21\"/></flags>\n";
static const char types_sse[] =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" "
    "count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
    "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
    "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
    "<field name=\"uint128\" type=\"uint128\"/></union>"
    "<flags id=\"i386_mxcsr\" size=\"4\"><field name=\"IE\" start=\"0\" end=\"0\"/>"
    "<field name=\"DE\" start=\"1\" end=\"1\"/><field name=\"ZE\" start=\"2\" end=\"2\"/>"
    "<field name=\"OE\" start=\"3\" end=\"3\"/><field name=\"UE\" start=\"4\" end=\"4\"/>"
    "<field name=\"PE\" start=\"5\" end=\"5\"/><field name=\"DAZ\" start=\"6\" end=\"6\"/>"
    "<field name=\"IM\" start=\"7\" end=\"7\"/><field name=\"DM\" start=\"8\" end=\"8\"/>"
    "<field name=\"ZM\" start=\"9\" end=\"9\"/><field name=\"OM\" start=\"10\" end=\"10\"/>"
    "<field name=\"UM\" start=\"11\" end=\"11\"/><field name=\"PM\" start=\"12\" end=\"12\"/>"
    "<field name=\"FZ\" start=\"15\" end=\"15\"/></flags>\n";

static void write_xml(FILE *out)
{
    fputs("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
          "<target version=\"1.0\"><architecture>i386:x86-64</architecture>\n",
          out);
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *r = &rows[i];

        if (!r->feature) {
            fprintf(out, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>\n", r->name, r->bits, r->type);
            continue;
        }
        fprintf(out, "%s<feature name=\"%s\">\n", i ? "</feature>\n" : "", r->feature);
        fputs(strstr(r->feature, ".core") ? types_core : strstr(r->feature, ".sse") ? types_sse : "", out);
    }
    fputs("</feature></target>\n", out);
}

const char *gdb_regs_xml(void)
{
    static char *text;
    size_t size;
    FILE *out = text ? NULL : open_memstream(&text, &size);

    if (out) {
        write_xml(out);
        fclose(out);
    }
    return text;
}
