// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_CATEGORY_H
#define HVSIM_TRACES_CATEGORY_H

#include "traces/trace.h"

// The names of the categories in mask, comma separated.
void category_names(uint32_t mask, char *names, size_t size);

#endif
