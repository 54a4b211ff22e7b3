// SPDX-License-Identifier: Apache-2.0
// hvsim explain --migration: the live migrations of a run, a bar for each round.
#ifndef TOOLS_HVSIM_EXPLAIN_MIGRATION_H
#define TOOLS_HVSIM_EXPLAIN_MIGRATION_H

#include <stdint.h>

// Run 0: the last. An exit status.
int explain_migration(const char *db, int64_t run);

#endif
