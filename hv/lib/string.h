// SPDX-License-Identifier: Apache-2.0
// Memory and string functions of a core without a C library. Sizes in bytes.
#ifndef HV_LIB_STRING_H
#define HV_LIB_STRING_H

#include "hv/hw/types.h"

// As in ISO C. Eight bytes at a time where both ends allow it.
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
// Copies at most n - 1 characters and always ends with a zero byte; n > 0.
void str_copy(char *to, const char *from, size_t n);
// Zeroes one 4 KiB page by 64-byte steps; `page` is page aligned.
void clear_page(void *page);
// Copies one 4 KiB page by 64-byte steps; both page aligned.
void copy_page(void *restrict to, const void *restrict from);

#endif
