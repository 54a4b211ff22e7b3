// SPDX-License-Identifier: Apache-2.0
// A sparse array of pointers indexed by u64: a radix tree of 64-way nodes that grows with the highest index.
//
// Readers may run beside one writer inside an SRCU or RCU-like section: stores are release, loads acquire,
// and a node is never freed before xa_destroy(). Writers serialise themselves.
#ifndef HV_LIB_XARRAY_H
#define HV_LIB_XARRAY_H

#include "hv/lib/compiler.h"

struct host;
struct xa_node;
struct xarray {
    struct host *host;    // Whose heap the nodes come from.
    struct xa_node *root; // Bits 5:0: levels below it (nodes are 64-byte aligned).
};

void xa_init(struct xarray *xa, struct host *host);
// Frees all nodes; not what the entries point to. Nobody may be reading.
void xa_destroy(struct xarray *xa);
// The entry at `index`, NULL if none.
void *xa_load(const struct xarray *xa, u64 index);
// Stores `entry` (NULL removes). 0 or -ENOMEM; nothing changed on error.
int xa_store(struct xarray *xa, u64 index, void *entry);
// The first non-NULL entry at or after *index; *index becomes its index. NULL: none.
void *xa_find(const struct xarray *xa, u64 *index);

#endif
