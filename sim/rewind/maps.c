// SPDX-License-Identifier: Apache-2.0
#include "sim/rewind/inner.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

_Noreturn void rewind_die(const char *message)
{
    ssize_t written = write(STDERR_FILENO, message, strlen(message));

    (void)written;
    _exit(70);
}

// --- System calls. ---

#if defined(__x86_64__)
static long system_call(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#else
static long system_call(long number, long a, long b, long c)
{
    return syscall(number, a, b, c);
}
#endif

bool rewind_protect(uintptr_t begin, uintptr_t end, int prot)
{
    return system_call(SYS_mprotect, (long)begin, (long)(end - begin), prot) == 0;
}

void rewind_set_brk(uintptr_t end)
{
    if (system_call(SYS_brk, (long)end, 0, 0) != (long)end) {
        rewind_die("hvsim: bug: rewind: the heap does not shrink\n");
    }
}

// --- /proc. ---

static size_t read_file(const char *path, char *text, size_t bytes)
{
    size_t length = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);

    if (file < 0) {
        rewind_die("hvsim: rewind: /proc/self cannot be read\n");
    }
    for (;;) {
        ssize_t got = read(file, text + length, bytes - 1 - length);
        if (got <= 0) {
            break;
        }
        length += (size_t)got;
    }
    close(file);
    if (length == bytes - 1) {
        rewind_die("hvsim: rewind: /proc/self/maps is too long\n");
    }
    text[length] = 0;
    return length;
}

uint64_t rewind_maps_vm_pages(void)
{
    char text[128];
    uint64_t pages = 0;

    memset(text, 0, sizeof text); // The kernel cannot write to a page that is protected.
    read_file("/proc/self/statm", text, sizeof text);
    for (const char *p = text; *p >= '0' && *p <= '9'; p++) {
        pages = pages * 10 + (uint64_t)(*p - '0');
    }
    return pages;
}

unsigned rewind_maps_threads(void)
{
    struct stat status;

    return stat("/proc/self/task", &status) == 0 ? (unsigned)status.st_nlink - 2 : 0;
}

static uintptr_t hex(const char **text)
{
    uintptr_t value = 0;

    for (;; ++*text) {
        char c = **text;
        if (c >= '0' && c <= '9') {
            value = value * 16 + (uintptr_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            value = value * 16 + (uintptr_t)(c - 'a') + 10;
        } else {
            return value;
        }
    }
}

// One line: "begin-end rwxp offset device inode path". Returns the next one, NULL after the last.
static const char *parse_line(const char *line, struct rewind_range *range)
{
    const char *p = line, *end = strchr(line, '\n');

    if (!end) {
        return NULL;
    }
    range->begin = hex(&p);
    p++;
    range->end = hex(&p);
    if (*p != ' ' || range->begin >= range->end) {
        rewind_die("hvsim: rewind: a line of /proc/self/maps is not understood\n");
    }
    p++;
    range->prot =
        (p[0] == 'r' ? PROT_READ : 0) | (p[1] == 'w' ? PROT_WRITE : 0) | (p[2] == 'x' ? PROT_EXEC : 0);
    range->is_shared = p[3] == 's';
    return end + 1;
}

static void append(struct rewind_range *list, uint32_t *count, struct rewind_range range)
{
    if (*count == RANGES_MAX) {
        rewind_die("hvsim: rewind: too many mappings\n");
    }
    list[(*count)++] = range;
}

// Appends what of `range` is not the rewinder's: the kernel shows neighbours that are alike as one mapping.
static void append_private(struct rewinder *r, uint32_t *count, struct rewind_range range)
{
    const struct rewind_range own[2] = {{(uintptr_t)r, (uintptr_t)(r + 1), 0, false}, rewind_heap_range()};
    bool first_is_lower = own[0].begin < own[1].begin;

    for (unsigned i = 0; i < 2; i++) {
        struct rewind_range hole = own[first_is_lower ? i : 1 - i], below = range;
        if (hole.begin >= range.end || hole.end <= range.begin) {
            continue;
        }
        below.end = hole.begin;
        if (below.begin < below.end) {
            append(r->ranges, count, below);
        }
        range.begin = hole.end;
        if (range.begin >= range.end) {
            return;
        }
    }
    append(r->ranges, count, range);
}

// Fills in now: everything, joined where it touches.
static void list_mapped(struct rewinder *r)
{
    struct rewind_range range;
    const char *line = r->maps_text;
    uint32_t count = 0;

    while ((line = parse_line(line, &range))) {
        struct rewind_range *last = count ? &r->now[count - 1] : NULL;
        if (last && last->end == range.begin && last->is_shared == range.is_shared) {
            last->end = range.end;
        } else {
            append(r->now, &count, range);
        }
    }
    r->now_count = count;
}

void rewind_maps_learn(struct rewinder *r)
{
    struct rewind_range range;
    const char *line = r->maps_text;

    read_file("/proc/self/maps", r->maps_text, sizeof r->maps_text);
    list_mapped(r);
    memcpy(r->mapped, r->now, r->now_count * sizeof *r->now);
    r->mapped_count = r->now_count;
    while ((line = parse_line(line, &range))) {
        if (!range.is_shared && (range.prot & PROT_WRITE)) {
            append_private(r, &r->range_count, range);
        }
    }
    r->vm_pages = rewind_maps_vm_pages();
}

struct rewind_range rewind_maps_main_stack(struct rewinder *r)
{
    struct rewind_range range;
    const char *line = r->maps_text, *next;

    read_file("/proc/self/maps", r->maps_text, sizeof r->maps_text);
    for (; (next = parse_line(line, &range)); line = next) {
        if (memmem(line, (size_t)(next - line), "[stack]", 7)) {
            return range;
        }
    }
    rewind_die("hvsim: rewind: there is no main stack in /proc/self/maps\n");
}

// Takes away the parts of `range` that were not mapped; *next is the first of `mapped` that may matter.
// Memory mapped shared is the explorer's and stays.
static uint64_t unmap_new(const struct rewinder *r, struct rewind_range range, uint32_t *next)
{
    uint64_t bytes = 0;

    while (range.begin < range.end) {
        while (*next < r->mapped_count && r->mapped[*next].end <= range.begin) {
            ++*next;
        }
        uintptr_t until = *next < r->mapped_count ? r->mapped[*next].begin : UINTPTR_MAX;
        if (until <= range.begin) { // It was there.
            range.begin = r->mapped[*next].end;
            continue;
        }
        uintptr_t end = until < range.end ? until : range.end;
        if (!range.is_shared) {
            munmap((void *)range.begin, end - range.begin);
            bytes += end - range.begin;
        }
        range.begin = end;
    }
    return bytes;
}

// Is all of `mapped` mapped still? (Both lists are in order, and neighbours are joined.)
static bool holds_all(const struct rewinder *r)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < r->mapped_count; i++) {
        uintptr_t begin = r->mapped[i].begin;
        while (begin < r->mapped[i].end) {
            while (at < r->now_count && r->now[at].end <= begin) {
                at++;
            }
            if (at == r->now_count || r->now[at].begin > begin) {
                return false;
            }
            begin = r->now[at].end;
        }
    }
    return true;
}

bool rewind_maps_undo(struct rewinder *r)
{
    uint64_t bytes = 0;
    uint32_t next = 0;

    if (rewind_maps_vm_pages() == r->vm_pages) {
        return false;
    }
    read_file("/proc/self/maps", r->maps_text, sizeof r->maps_text);
    list_mapped(r);
    if (!holds_all(r)) {
        rewind_die("hvsim: bug: rewind: an execution unmapped memory that was there before it "
                   "(see rewind_prepare())\n");
    }
    for (uint32_t i = 0; i < r->now_count; i++) {
        bytes += unmap_new(r, r->now[i], &next);
    }
    r->stats.unmapped_bytes += bytes;
    r->vm_pages = rewind_maps_vm_pages();
    return bytes > 0;
}

const struct rewind_range *rewind_maps_find(const struct rewinder *r, uintptr_t address)
{
    uint32_t low = 0, high = r->range_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (r->ranges[middle].end <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < r->range_count && r->ranges[low].begin <= address ? &r->ranges[low] : NULL;
}
