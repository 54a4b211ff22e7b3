// SPDX-License-Identifier: Apache-2.0
/* hvsim as its user meets it: the real program in a process of its own, in the test's own folder. */
#ifndef TESTS_CLI_CLI_H
#define TESTS_CLI_CLI_H

#include "tests/shim/shim.h"

#include <sys/types.h>

/* What the last hvsim() wrote, each cut off at a mebibyte. */
extern char cli_out[1 << 20], cli_err[1 << 20];

/*
 * Runs `hvsim WORDS...` by the shell in test_tmpdir() with nothing to read; returns its exit status (128 + n
 * if signal n ended it). `format` is printf's.
 */
int hvsim(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same after a command of the shell, such as "ulimit -f 16". */
int hvsim_under(const char *setting, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Is there a hypervisor core to run? Tests that simulate skip without one. */
bool cli_can_run(void);

/* "test_tmpdir()/name", in one of eight static buffers. */
const char *cli_path(const char *name);

/* Writes a file in test_tmpdir(); returns its path as cli_path(). */
const char *cli_write(const char *name, const void *bytes, size_t size);
const char *cli_write_text(const char *name, const char *text);

/* A scenario `name`.yaml whose guest executes CPUID `exits` times; returns its path. */
const char *cli_scenario(const char *name, unsigned exits);

/* One integer from a database by SQL; INT64_MIN, and a failure, if it cannot be read. */
int64_t cli_query(const char *db, const char *sql);
/* The same for text, in a static buffer; "" if it cannot be read. */
const char *cli_query_text(const char *db, const char *sql);

/* NULL if text is exactly one JSON value (RFC 8259), else where it stops being one. */
const char *json_fault(const char *text);

#endif
