// SPDX-License-Identifier: Apache-2.0
// Intrusive red-black tree with a cached leftmost node. The caller searches; the tree balances.
#ifndef HV_LIB_RBTREE_H
#define HV_LIB_RBTREE_H

#include "hv/lib/compiler.h"

// Bit 0 of `parent_color`: 1 black, 0 red.
struct rb_node {
    u64 parent_color;
    struct rb_node *left, *right;
};
struct rb_root {
    struct rb_node *node;
    struct rb_node *leftmost; // Smallest, NULL when empty.
};

static inline bool rb_empty(const struct rb_root *root)
{
    return root->node == NULL;
}
static inline struct rb_node *rb_first(const struct rb_root *root)
{
    return root->leftmost;
}
// In-order neighbours; NULL at the ends. O(1) amortised.
struct rb_node *rb_next(const struct rb_node *node);
struct rb_node *rb_prev(const struct rb_node *node);
struct rb_node *rb_last(const struct rb_root *root);
// Inserts `node`: `less(a, b)` orders nodes; equal nodes keep insertion order. O(log n).
void rb_insert(struct rb_root *root, struct rb_node *node,
               bool (*less)(const struct rb_node *, const struct rb_node *));
// Links a node whose place the caller found: child slot `link` of `parent` (NULL parent: the root),
// `leftmost` true if it became the smallest.
void rb_link(struct rb_root *root, struct rb_node *node, struct rb_node *parent, struct rb_node **link,
             bool leftmost);
// Removes a node that is in the tree.
void rb_erase(struct rb_root *root, struct rb_node *node);

#define rb_entry(ptr, type, member) container_of(ptr, type, member)

#endif
