// SPDX-License-Identifier: Apache-2.0
#include "models/memory/memory.h"

const char *const memory_kind_names[MEMORY_KIND_COUNT] = {"tso", "sc", "c11"};
