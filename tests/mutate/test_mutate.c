// SPDX-License-Identifier: Apache-2.0
/* hvsim-mutate finds what the core has of fences, locks and orderings, and takes out one at a time. */
#include "tests/shim/shim.h"
#include "tools/mutate/mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct row {
    const char *text;
    const char *names[3]; // Of its places, in order
    const char *without;  // The text without the first one
} rows[] = {
    {"void f(void)\n{\n    smp_mb(); // smp_mb()\n}\n",
     {"a.c:f fence smp_mb#1"},
     "void f(void)\n{\n    ((void)0); // smp_mb()\n}\n"},
    {"int g(int *p)\n{\n    return load_acquire(&p[h(1)]);\n}\n",
     {"a.c:g acquire load_acquire#1"},
     "int g(int *p)\n{\n    return __atomic_load_n(&p[h(1)], __ATOMIC_RELAXED);\n}\n"},
    {"void f(void)\n{\n    swap(&x, k(2), __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);\n}\n",
     {"a.c:f acq_rel swap#1"},
     "void f(void)\n{\n    swap(&x, k(2), __ATOMIC_RELAXED, __ATOMIC_RELAXED);\n}\n"},
    {"void f(void)\n{\n    swap(&x, __ATOMIC_RELAXED);\n}\n", {NULL}, NULL},
    // What takes has what gives back; on two ways out, twice.
    {"int f(void)\n{\n    mutex_lock(&a->m);\n    if (x) {\n        mutex_unlock(&a->m);\n        return "
     "1;\n    }\n"
     "    mutex_unlock(&a->m);\n    return 0;\n}\n",
     {"a.c:f lock mutex_lock#1"},
     "int f(void)\n{\n    ((void)(&a->m));\n    if (x) {\n        ((void)(&a->m));\n        return 1;\n    "
     "}\n"
     "    ((void)(&a->m));\n    return 0;\n}\n"},
    // Of two locks, each by itself; of one that is taken twice, each hold.
    {"void f(void)\n{\n    spin_lock(&a);\n    spin_lock(&b);\n    spin_unlock(&b);\n    "
     "spin_unlock(&a);\n}\n",
     {"a.c:f lock spin_lock#1", "a.c:f lock spin_lock#2"},
     "void f(void)\n{\n    ((void)(&a));\n    spin_lock(&b);\n    spin_unlock(&b);\n    ((void)(&a));\n}\n"},
    {"void f(void)\n{\n    read_lock(&a);\n    read_unlock(&a);\n    read_lock(&a);\n    "
     "read_unlock(&a);\n}\n",
     {"a.c:f lock read_lock#1", "a.c:f lock read_lock#2"},
     "void f(void)\n{\n    ((void)(&a));\n    ((void)(&a));\n    read_lock(&a);\n    read_unlock(&a);\n}\n"},
    // Given up and taken again is no hold.
    {"void f(void)\n{\n    mutex_unlock(&a);\n    wait();\n    mutex_lock(&a);\n}\n", {NULL}, NULL},
    // The lock, and that interrupts are disabled.
    {"void f(void)\n{\n    bool flags = spin_lock_irqsave(&a);\n    spin_unlock_irqrestore(&a, flags);\n}\n",
     {"a.c:f irq spin_lock_irqsave#1", "a.c:f lock spin_lock_irqsave#1"},
     "void f(void)\n{\n    bool flags = (spin_lock(&a), false);\n    ((void)(&a, flags), "
     "spin_unlock(&a));\n}\n"},
    // What counts where it is used does not count where it is defined.
    {"static inline void smp_wmb(void)\n{\n    __atomic_thread_fence(__ATOMIC_RELEASE);\n}\n", {NULL}, NULL},
    {"#define each(p) \\\n    for (p = srcu_dereference(head); p; p = next(p))\n",
     {"a.c:each acquire srcu_dereference#1"},
     "#define each(p) \\\n    for (p = READ_ONCE(head); p; p = next(p))\n"},
};

TEST(Mutate, FindsThePlacesAndTakesThemOut)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mutate_sites sites = {0};
        unsigned count = 0;

        test_row("%s", rows[i].text);
        mutate_find(&sites, "a.c", rows[i].text);
        while (count < 3 && rows[i].names[count])
            count++;
        ASSERT_EQ(sites.count, count);
        for (unsigned n = 0; n < count; n++)
            EXPECT_STREQ(sites.rows[n].name, rows[i].names[n]);
        if (count) {
            char *without = mutate_apply(&sites.rows[0], rows[i].text);

            EXPECT_STREQ(without, rows[i].without);
            free(without);
        }
        mutate_free(&sites);
    }
}

/* The program on the core itself; what it wrote, in `output`. */
static int mutate(const char *arguments, char *output, size_t bytes)
{
    char command[2000];

    snprintf(command, sizeof command,
             "cd '%s' && printf 'hv | run scenarios/mmu/remote-flush.yaml --validate all | 100 | *\\n' "
             ">'%s/table' && "
             "'%s/bin/hvsim-mutate' . '%s' --again --table '%s/table' %s",
             test_source_dir(), test_tmpdir(), test_build_dir(), test_build_dir(), test_tmpdir(), arguments);
    return test_shell(command, output, bytes);
}

TEST(Mutate, AMissingLockIsNoticedAndTheCoreAsItIsNot)
{
    static char output[100000];

    EXPECT_EQ(mutate("none", output, sizeof output), 0);
    EXPECT_STRSTR(output, "none: nobody notices anything");
    EXPECT_EQ(mutate("'hv/core/heap.c:kmalloc lock'", output, sizeof output), 0);
    EXPECT_STRSTR(output, "remote-flush");
    EXPECT_STRSTR(output, "data_race");
    EXPECT_STRSTR(output, "all         1 of    1 noticed, 100.0 %");
}
