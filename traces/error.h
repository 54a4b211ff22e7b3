// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_ERROR_H
#define HVSIM_TRACES_ERROR_H

#include "traces/trace.h"

#include <sqlite3.h>

// Fills *error (may be NULL) with the status, its usual hint, and a message; returns status.
enum trace_status error_set(struct trace_error *error, enum trace_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The same from db's last error. doing completes "cannot ...".
enum trace_status error_from_sqlite(struct trace_error *error, sqlite3 *db, const char *path,
                                    const char *doing);

static inline enum trace_status error_clear(struct trace_error *error)
{
    if (error)
        *error = (struct trace_error){.status = TRACE_OK};
    return TRACE_OK;
}

#endif
