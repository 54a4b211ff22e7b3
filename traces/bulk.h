// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_BULK_H
#define HVSIM_TRACES_BULK_H

/*
 * Many rows of integers into one table, fast: rows gather in memory, and one statement, INSERT INTO table
 * SELECT * FROM batch, pulls thousands of them through a virtual table over that memory. Measured per row of
 * 5 columns: 0.27 us if SQLite counts the row ids itself, 0.51 us with given ids (a search of the tree each),
 * 0.68 us for a multi-row INSERT ... VALUES. So a table whose ids count up has only its first row's id given
 * (bulk_restart()).
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

enum { BULK_COLUMNS = 12, BULK_ROWS = 4096 };

struct bulk_row {
    uint64_t nulls; // bit i: column i is NULL
    int64_t cells[BULK_COLUMNS];
};

struct bulk {
    const char *table;
    int columns; // including the row id
    struct bulk_row *rows;
    int first, count; // rows [first, count) are not yet inserted
    bool counts;      // row ids count up by one
    bool restart;     // the next row's id is given
    sqlite3_stmt *insert_ids, *insert_next;
};

// Makes the virtual table batch_<table> and the statements. Returns an SQLite result code.
int bulk_open(struct bulk *bulk, sqlite3 *db, const char *table, int columns, bool counts);
void bulk_close(struct bulk *bulk);

static inline bool bulk_is_full(const struct bulk *bulk)
{
    return bulk->count == BULK_ROWS;
}

// The next row's id (cells[0]) starts a new count.
static inline void bulk_restart(struct bulk *bulk)
{
    bulk->restart = true;
}

// The next row, with stale contents; only if !bulk_is_full().
static inline struct bulk_row *bulk_next(struct bulk *bulk)
{
    return &bulk->rows[bulk->count++];
}

// Inserts what has gathered and empties it, even if that fails. Returns an SQLite result code.
int bulk_flush(struct bulk *bulk);

#endif
