// SPDX-License-Identifier: Apache-2.0
#include "traces/export.h"

#include "traces/error.h"
#include "traces/memory.h"
#include "traces/reader.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

// Text on its way to the caller, in pieces of some size.
struct export_out {
    trace_text_fn *fn;
    void *context;
    char buffer[16384];
    size_t used;
    bool stopped;
    bool first_row;
};

static void out_flush(struct export_out *out)
{
    if (out->used && !out->stopped)
        out->stopped = !out->fn(out->context, out->buffer, out->used);
    out->used = 0;
}

static void out_char(struct export_out *out, char c)
{
    if (out->used == sizeof out->buffer)
        out_flush(out);
    out->buffer[out->used++] = c;
}

static void out_bytes(struct export_out *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out_char(out, text[i]);
}

static void out_text(struct export_out *out, const char *text)
{
    out_bytes(out, text, strlen(text));
}

// --- CSV (RFC 4180). ---

static void csv_field(struct export_out *out, const char *text, size_t size)
{
    bool quote = !size || memchr(text, '"', size) || memchr(text, ',', size) || memchr(text, '\r', size) ||
                 memchr(text, '\n', size);

    if (!quote) {
        out_bytes(out, text, size);
        return;
    }
    out_char(out, '"');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            out_char(out, '"');
        out_char(out, text[i]);
    }
    out_char(out, '"');
}

static void csv_header(struct export_out *out, int columns, const char *const *names)
{
    for (int i = 0; i < columns; i++) {
        if (i)
            out_char(out, ',');
        csv_field(out, names[i], strlen(names[i]));
    }
    out_text(out, "\r\n");
}

static bool csv_row(void *context, const struct trace_row *row)
{
    struct export_out *out = context;

    for (int i = 0; i < row->columns; i++) {
        if (i)
            out_char(out, ',');
        if (row->values[i].type != TRACE_VALUE_NULL)
            csv_field(out, row->values[i].text, row->values[i].text_size);
    }
    out_text(out, "\r\n");
    return !out->stopped;
}

// --- JSON (RFC 8259). ---

static void json_string(struct export_out *out, const char *text, size_t size)
{
    out_char(out, '"');
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[8];

        if (c == '"' || c == '\\') {
            out_char(out, '\\');
            out_char(out, (char)c);
        } else if (c < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            out_text(out, escape);
        } else {
            out_char(out, (char)c);
        }
    }
    out_char(out, '"');
}

static void json_value(struct export_out *out, const struct trace_value *value)
{
    // Inf and NaN have no JSON.
    bool is_null =
        value->type == TRACE_VALUE_NULL ||
        (value->type == TRACE_VALUE_REAL && !isdigit((unsigned char)value->text[value->text_size - 1]));

    if (is_null)
        out_text(out, "null");
    else if (value->type == TRACE_VALUE_TEXT)
        json_string(out, value->text, value->text_size);
    else
        out_bytes(out, value->text, value->text_size);
}

static bool json_row(void *context, const struct trace_row *row)
{
    struct export_out *out = context;

    out_text(out, out->first_row ? "\n" : ",\n");
    out->first_row = false;
    out_char(out, '{');
    for (int i = 0; i < row->columns; i++) {
        if (i)
            out_char(out, ',');
        json_string(out, row->names[i], strlen(row->names[i]));
        out_char(out, ':');
        json_value(out, &row->values[i]);
    }
    out_char(out, '}');
    return !out->stopped;
}

// --- Either. ---

static bool export_is_name(const char *what)
{
    size_t i = 0;

    while (isalnum((unsigned char)what[i]) || what[i] == '_')
        i++;
    return i && !what[i];
}

// The header is written before the first row, also if there is none.
static enum trace_status export_csv_header(struct trace_reader *reader, const char *sql,
                                           struct export_out *out, struct trace_error *error)
{
    sqlite3_stmt *statement;
    enum trace_status status = reader_prepare(reader, sql, &statement, error);

    if (status != TRACE_OK)
        return status;
    int columns = sqlite3_column_count(statement);
    const char **names = memory_zeroed((size_t)columns, sizeof *names);

    for (int i = 0; i < columns; i++)
        names[i] = sqlite3_column_name(statement, i);
    csv_header(out, columns, names);
    free(names);
    sqlite3_finalize(statement);
    return TRACE_OK;
}

enum trace_status trace_export(struct trace_reader *reader, const char *what, enum trace_format format,
                               trace_text_fn *fn, void *context, struct trace_error *error)
{
    struct export_out out = {.fn = fn, .context = context, .first_row = true};
    char named[256];
    const char *sql = what;
    enum trace_status status = TRACE_OK;

    if (export_is_name(what) && strlen(what) < 200) {
        snprintf(named, sizeof named, "SELECT * FROM %s", what);
        sql = named;
    }
    if (format == TRACE_CSV)
        status = export_csv_header(reader, sql, &out, error);
    else
        out_char(&out, '[');
    if (status == TRACE_OK)
        status = trace_query(reader, sql, format == TRACE_CSV ? csv_row : json_row, &out, error);
    if (status != TRACE_OK)
        return status;
    if (format == TRACE_JSON)
        out_text(&out, "\n]\n");
    out_flush(&out);
    return status;
}
