// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/run_table.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void run_table_point(const struct scenario *s, char *text, size_t size)
{
    size_t used = 0;

    *text = 0;
    for (uint32_t i = 0; i < s->swept_count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? " " : "", s->swept[i].value);
}

int run_table_add(struct run_table *t, struct trace_reader *r, const struct scenario *s,
                  const struct ran *ran, struct user_error *e)
{
    struct run_table_row *rows = realloc(t->rows, (t->count + 1) * sizeof *rows);

    if (!rows)
        abort();
    t->rows = rows;
    struct run_table_row *row = &rows[t->count++];

    *row = (struct run_table_row){.cycles = ran->cycles};
    run_table_point(s, row->point, sizeof row->point);
    snprintf(row->variant, sizeof row->variant, "%s", ran->variant->name);
    for (uint32_t i = 0; i < s->show_count; i++) {
        struct trace_error error;
        struct trace_value value;
        char *text = row->shown[i];

        if (trace_query_value(r, s->shows[i].sql, &value, text, sizeof row->shown[i], &error) != TRACE_OK)
            return user_error_at(e, s->path, s->shows[i].line, "show", "%s; %s", error.message, error.hint);
        if (value.type == TRACE_VALUE_REAL)
            snprintf(text, sizeof row->shown[i], "%.6g", value.real);
        if (value.type == TRACE_VALUE_NULL)
            snprintf(text, sizeof row->shown[i], "-");
    }
    return 0;
}

static int width_of(const char *head, int least)
{
    int width = (int)strlen(head);

    return width > least ? width : least;
}

void run_table_print(struct run_table *t, const struct scenario *s)
{
    if (t->count > 1 && (s->axis_count || s->show_count)) {
        printf("\n  ");
        if (s->axis_count)
            printf("%-20s ", s->axis_count == 1 ? s->axes[0].path : "point");
        printf("%-12s %16s", "variant", "cycles");
        for (uint32_t i = 0; i < s->show_count; i++)
            printf("  %*s", width_of(s->shows[i].as, 8), s->shows[i].as);
        putchar('\n');
    }
    for (size_t n = 0; t->count > 1 && (s->axis_count || s->show_count) && n < t->count; n++) {
        const struct run_table_row *row = &t->rows[n];

        printf("  ");
        if (s->axis_count)
            printf("%-20s ", row->point);
        printf("%-12s %16" PRIu64, row->variant, row->cycles);
        for (uint32_t i = 0; i < s->show_count; i++)
            printf("  %*s", width_of(s->shows[i].as, 8), row->shown[i]);
        putchar('\n');
    }
}

void run_table_free(struct run_table *t)
{
    free(t->rows);
    *t = (struct run_table){0};
}
