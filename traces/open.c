// SPDX-License-Identifier: Apache-2.0
#include "traces/open.h"

#include "traces/error.h"
#include "traces/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_HEADER = 100, OPEN_PATIENCE_MS = 300 };

static uint32_t open_be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// The database header: magic at 0, page size at 16 (1 means 65536), size in pages at 28, user_version at 60,
// application_id at 68, all big-endian.
static enum trace_status open_check_header(const char *path, const unsigned char *header, size_t size,
                                           uint64_t file_size, struct trace_error *error)
{
    if (size < OPEN_HEADER || memcmp(header, "SQLite format 3", 16))
        return error_set(error, TRACE_NOT_OURS, "%s: not a database of hvsim, nor any SQLite database", path);
    if (open_be32(header + 68) != STORE_APPLICATION_ID)
        return error_set(error, TRACE_NOT_OURS, "%s: an SQLite database of another program, not of hvsim",
                         path);
    if (open_be32(header + 60) != STORE_VERSION)
        return error_set(error, TRACE_OTHER_VERSION,
                         "%s: schema version %u, but this hvsim writes version %d", path,
                         open_be32(header + 60), STORE_VERSION);
    uint64_t page = (uint64_t)header[16] << 8 | header[17];
    uint64_t wanted = (page == 1 ? 65536 : page) * open_be32(header + 28);

    if (file_size < wanted)
        return error_set(error, TRACE_DAMAGED, "%s: truncated: %llu of %llu bytes are there", path,
                         (unsigned long long)file_size, (unsigned long long)wanted);
    return error_clear(error);
}

static enum trace_status open_errno(const char *path, struct trace_error *error)
{
    bool denied = errno == EACCES || errno == EPERM || errno == EROFS;

    return error_set(error, denied ? TRACE_READ_ONLY : TRACE_CANNOT_OPEN, "%s: cannot open: %s", path,
                     strerrordesc_np(errno));
}

enum trace_status open_inspect(const char *path, enum open_found *found, struct trace_error *error)
{
    unsigned char header[OPEN_HEADER];
    struct stat status;

    *found = OPEN_NOTHING;
    if (!*path)
        return error_clear(error);
    if (stat(path, &status))
        return errno == ENOENT ? error_clear(error) : open_errno(path, error);
    if (!S_ISREG(status.st_mode))
        return error_set(error, TRACE_CANNOT_OPEN, "%s: %s, not a file", path,
                         S_ISDIR(status.st_mode) ? "a directory" : "a device, pipe or socket");
    if (!status.st_size)
        return error_clear(error);
    int file = open(path, O_RDONLY | O_CLOEXEC);

    if (file < 0)
        return open_errno(path, error);
    ssize_t size = pread(file, header, sizeof header, 0);

    close(file);
    *found = OPEN_OURS;
    return open_check_header(path, header, size < 0 ? 0 : (size_t)size, (uint64_t)status.st_size, error);
}

// Appending needs no journal for new pages; the rollback journal protects earlier runs from a killed process.
// Only a failing machine could hurt them (synchronous=OFF): a trace can be made again.
static const char open_pragmas[] =
    "PRAGMA page_size=4096; PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE;"
    "PRAGMA synchronous=OFF; PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;";

static int open_make_tables(sqlite3 *db, bool is_new)
{
    char sql[128];
    int result = sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL);

    snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d;", STORE_APPLICATION_ID,
             STORE_VERSION);
    if (result == SQLITE_OK && is_new)
        result = sqlite3_exec(db, open_schema, NULL, NULL, NULL);
    if (result == SQLITE_OK && is_new)
        result = sqlite3_exec(db, sql, NULL, NULL, NULL);
    // We hold the lock, so a run that is still 'running' has no one to finish it.
    if (result == SQLITE_OK)
        result =
            sqlite3_exec(db, "UPDATE runs SET state='incomplete' WHERE state='running'", NULL, NULL, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    return result;
}

// SQLite makes a journal beside the file, so the folder must be writable too.
static enum trace_status open_check_rights(const char *path, bool is_there, struct trace_error *error)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');

    if (!*path)
        return error_clear(error);
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    if (access(folder, F_OK))
        return error_set(error, TRACE_CANNOT_OPEN, "%s: cannot open: there is no folder %s", path, folder);
    if (access(folder, W_OK | X_OK))
        return error_set(error, TRACE_READ_ONLY, "%s: the folder %s cannot be written", path, folder);
    if (is_there && access(path, W_OK))
        return error_set(error, TRACE_READ_ONLY, "%s: read-only", path);
    return error_clear(error);
}

static enum trace_status open_prepare(sqlite3 *db, const char *path, uint64_t max_bytes, bool is_new,
                                      struct trace_error *error)
{
    char sql[64];

    sqlite3_busy_timeout(db, OPEN_PATIENCE_MS);
    snprintf(sql, sizeof sql, "PRAGMA max_page_count=%llu", (unsigned long long)(max_bytes / 4096));
    if (sqlite3_db_readonly(db, "main") == 1)
        return error_set(error, TRACE_READ_ONLY, "%s: read-only", path);
    if (sqlite3_exec(db, open_pragmas, NULL, NULL, NULL) != SQLITE_OK ||
        (max_bytes && sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) ||
        open_make_tables(db, is_new) != SQLITE_OK)
        return error_from_sqlite(error, db, path, is_new ? "create" : "write to it");
    return error_clear(error);
}

enum trace_status open_for_writing(const char *path, uint64_t max_bytes, sqlite3 **db, bool *created,
                                   struct trace_error *error)
{
    enum open_found found;
    enum trace_status status = open_inspect(path, &found, error);

    *db = NULL;
    *created = false;
    if (status != TRACE_OK)
        return status;
    bool was_there = access(path, F_OK) == 0;

    status = open_check_rights(path, was_there, error);
    if (status != TRACE_OK)
        return status;
    if (sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        status = error_from_sqlite(error, *db, path, "open");
    else
        status = open_prepare(*db, path, max_bytes, found == OPEN_NOTHING, error);
    *created = status == TRACE_OK && !was_there && *path;
    if (status != TRACE_OK) {
        sqlite3_close(*db);
        *db = NULL;
        // Whatever appeared under the name did so through this call.
        if (!was_there && *path && status != TRACE_LOCKED)
            unlink(path);
    }
    return status;
}

enum trace_status open_for_reading(const char *path, sqlite3 **db, struct trace_error *error)
{
    enum open_found found;
    enum trace_status status = open_inspect(path, &found, error);

    *db = NULL;
    if (status != TRACE_OK)
        return status;
    if (found == OPEN_NOTHING)
        return access(path, F_OK)
                   ? error_set(error, TRACE_CANNOT_OPEN, "%s: no such file", path)
                   : error_set(error, TRACE_NOT_OURS, "%s: empty, not a database of hvsim", path);
    int result = sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (result == SQLITE_OK) {
        sqlite3_busy_timeout(*db, OPEN_PATIENCE_MS);
        result = sqlite3_exec(*db, "PRAGMA query_only=1; PRAGMA cache_size=-65536; SELECT count(*) FROM runs",
                              NULL, NULL, NULL);
    }
    if (result == SQLITE_OK)
        return error_clear(error);
    status = error_from_sqlite(error, *db, path, "read");
    sqlite3_close(*db);
    *db = NULL;
    return status;
}
