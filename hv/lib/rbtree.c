// SPDX-License-Identifier: Apache-2.0
// Red-black tree. Laws: the root is black, a red node has black children, every path down has as many blacks.
#include "hv/lib/rbtree.h"

#define BLACK 1ull

static struct rb_node *parent_of(const struct rb_node *n)
{
    return (struct rb_node *)(n->parent_color & ~1ull);
}
static bool is_red(const struct rb_node *n)
{
    return n != NULL && (n->parent_color & BLACK) == 0;
}
static void set_parent(struct rb_node *n, struct rb_node *parent)
{
    n->parent_color = (u64)parent | (n->parent_color & BLACK);
}
static void set_black(struct rb_node *n)
{
    n->parent_color |= BLACK;
}
static void set_red(struct rb_node *n)
{
    n->parent_color &= ~BLACK;
}

// `now` takes the place of `old` below old's parent.
static void replace_child(struct rb_root *root, struct rb_node *parent, struct rb_node *old,
                          struct rb_node *now)
{
    if (parent == NULL)
        root->node = now;
    else if (parent->left == old)
        parent->left = now;
    else
        parent->right = now;
}

static void rotate_left(struct rb_root *root, struct rb_node *n)
{
    struct rb_node *up = n->right, *parent = parent_of(n);
    n->right = up->left;
    if (up->left != NULL)
        set_parent(up->left, n);
    up->left = n;
    set_parent(up, parent);
    set_parent(n, up);
    replace_child(root, parent, n, up);
}

static void rotate_right(struct rb_root *root, struct rb_node *n)
{
    struct rb_node *up = n->left, *parent = parent_of(n);
    n->left = up->right;
    if (up->right != NULL)
        set_parent(up->right, n);
    up->right = n;
    set_parent(up, parent);
    set_parent(n, up);
    replace_child(root, parent, n, up);
}

static void insert_fixup(struct rb_root *root, struct rb_node *n)
{
    struct rb_node *parent;
    while (is_red(parent = parent_of(n))) {
        struct rb_node *grand = parent_of(parent);
        bool on_left = grand->left == parent;
        struct rb_node *uncle = on_left ? grand->right : grand->left;
        if (is_red(uncle)) {
            set_black(parent);
            set_black(uncle);
            set_red(grand);
            n = grand;
            continue;
        }
        if (n == (on_left ? parent->right : parent->left)) {
            if (on_left)
                rotate_left(root, parent);
            else
                rotate_right(root, parent);
            parent = n;
        }
        set_black(parent);
        set_red(grand);
        if (on_left)
            rotate_right(root, grand);
        else
            rotate_left(root, grand);
        break;
    }
    set_black(root->node);
}

void rb_link(struct rb_root *root, struct rb_node *node, struct rb_node *parent, struct rb_node **link,
             bool leftmost)
{
    node->parent_color = (u64)parent; // Red.
    node->left = NULL;
    node->right = NULL;
    *link = node;
    if (leftmost)
        root->leftmost = node;
    insert_fixup(root, node);
}

void rb_insert(struct rb_root *root, struct rb_node *node,
               bool (*less)(const struct rb_node *, const struct rb_node *))
{
    struct rb_node **link = &root->node, *parent = NULL;
    bool leftmost = true;
    while (*link != NULL) {
        parent = *link;
        if (less(node, parent)) {
            link = &parent->left;
        } else {
            link = &parent->right;
            leftmost = false;
        }
    }
    rb_link(root, node, parent, link, leftmost);
}

struct rb_node *rb_next(const struct rb_node *n)
{
    struct rb_node *up;
    if (n->right != NULL) {
        struct rb_node *d = n->right;
        while (d->left != NULL)
            d = d->left;
        return d;
    }
    while ((up = parent_of(n)) != NULL && n == up->right)
        n = up;
    return up;
}

struct rb_node *rb_prev(const struct rb_node *n)
{
    struct rb_node *up;
    if (n->left != NULL) {
        struct rb_node *d = n->left;
        while (d->right != NULL)
            d = d->right;
        return d;
    }
    while ((up = parent_of(n)) != NULL && n == up->left)
        n = up;
    return up;
}

struct rb_node *rb_last(const struct rb_root *root)
{
    struct rb_node *n = root->node;
    while (n != NULL && n->right != NULL)
        n = n->right;
    return n;
}

// `n` (may be NULL, below `parent`) lacks one black on its paths.
static void erase_fixup(struct rb_root *root, struct rb_node *n, struct rb_node *parent)
{
    while (parent != NULL && !is_red(n)) {
        bool on_left = parent->left == n;
        struct rb_node *sibling = on_left ? parent->right : parent->left;
        if (is_red(sibling)) {
            set_black(sibling);
            set_red(parent);
            if (on_left)
                rotate_left(root, parent);
            else
                rotate_right(root, parent);
            sibling = on_left ? parent->right : parent->left;
        }
        struct rb_node *near = on_left ? sibling->left : sibling->right;
        struct rb_node *far = on_left ? sibling->right : sibling->left;
        if (!is_red(near) && !is_red(far)) {
            set_red(sibling);
            n = parent;
            parent = parent_of(n);
            continue;
        }
        if (!is_red(far)) {
            set_black(near);
            set_red(sibling);
            if (on_left)
                rotate_right(root, sibling);
            else
                rotate_left(root, sibling);
            far = sibling;
            sibling = near;
        }
        sibling->parent_color = (sibling->parent_color & ~BLACK) | (parent->parent_color & BLACK);
        set_black(parent);
        set_black(far);
        if (on_left)
            rotate_left(root, parent);
        else
            rotate_right(root, parent);
        n = root->node;
        break;
    }
    if (n != NULL)
        set_black(n);
}

void rb_erase(struct rb_root *root, struct rb_node *node)
{
    if (root->leftmost == node)
        root->leftmost = rb_next(node);
    struct rb_node *child, *parent;
    bool lost_black;
    if (node->left != NULL && node->right != NULL) {
        struct rb_node *next = node->right;
        while (next->left != NULL)
            next = next->left;
        child = next->right;
        parent = parent_of(next);
        lost_black = !is_red(next);
        if (parent == node) {
            parent = next;
        } else {
            parent->left = child;
            if (child != NULL)
                set_parent(child, parent);
            next->right = node->right;
            set_parent(node->right, next);
        }
        next->left = node->left;
        set_parent(node->left, next);
        next->parent_color = node->parent_color;
        replace_child(root, parent_of(node), node, next);
    } else {
        child = node->left != NULL ? node->left : node->right;
        parent = parent_of(node);
        lost_black = !is_red(node);
        if (child != NULL)
            set_parent(child, parent);
        replace_child(root, parent, node, child);
    }
    if (lost_black)
        erase_fixup(root, child, parent);
}
