// SPDX-License-Identifier: Apache-2.0
#include "traces/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name, *hint;
} error_rows[] = {
    [TRACE_OK] = {"ok", ""},
    [TRACE_NOT_OURS] = {"not a database of hvsim",
                        "give --db the name of a new file or of a database that hvsim wrote"},
    [TRACE_OTHER_VERSION] = {"another schema version",
                             "give --db a new file; read the old one with the hvsim that wrote it"},
    [TRACE_LOCKED] = {"locked", "wait for the other process that uses it, or give --db another file"},
    [TRACE_READ_ONLY] = {"read-only", "make the file and its folder writable, or give --db another file"},
    [TRACE_DISK_FULL] =
        {"disk full", "free some space, store fewer categories (--trace exits), or give --db another disk"},
    [TRACE_DAMAGED] = {"damaged", "restore it from a copy, or give --db a new file and run again"},
    [TRACE_CANNOT_OPEN] = {"cannot be opened",
                           "check the path: the folder must exist and the name be that of a file"},
    [TRACE_BAD_QUERY] = {"bad query",
                         "docs/trace-schema.md lists tables and columns; one SELECT that only reads"},
    [TRACE_IO] = {"input/output error", "check the disk and the kernel's log"},
};

const char *trace_status_str(enum trace_status status)
{
    return error_rows[status].name;
}

enum trace_status error_set(struct trace_error *error, enum trace_status status, const char *format, ...)
{
    va_list arguments;

    if (!error)
        return status;
    error->status = status;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    snprintf(error->hint, sizeof error->hint, "%s", error_rows[status].hint);
    return status;
}

static enum trace_status error_status(sqlite3 *db)
{
    int system = 0;

    // The file's own errno: SQLite's sqlite3_system_errno() may be that of the rollback which followed.
    sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &system);
    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return TRACE_LOCKED;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return TRACE_READ_ONLY;
    case SQLITE_FULL:
        return TRACE_DISK_FULL;
    case SQLITE_CORRUPT:
        return TRACE_DAMAGED;
    case SQLITE_NOTADB:
        return TRACE_NOT_OURS;
    case SQLITE_CANTOPEN:
        return TRACE_CANNOT_OPEN;
    default:
        return system == ENOSPC || system == EFBIG || system == EDQUOT ? TRACE_DISK_FULL : TRACE_IO;
    }
}

enum trace_status error_from_sqlite(struct trace_error *error, sqlite3 *db, const char *path,
                                    const char *doing)
{
    enum trace_status status = error_status(db);

    return error_set(error, status, "%s: cannot %s: %s (%s)", path, doing, trace_status_str(status),
                     sqlite3_errmsg(db));
}
