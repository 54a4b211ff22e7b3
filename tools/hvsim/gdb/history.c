// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/gdb/history.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_BUG 70
enum { ORDER_WORK = 'w', ORDER_END = 'e', REPORT_DONE = 'd', REPORT_LOST = 'l' };

// --- The first process. ---

static _Noreturn void wait_for_status(int from)
{
    unsigned char status;
    ssize_t got;

    // Ctrl-C is for the process that simulates: it ends the run in good order.
    signal(SIGINT, SIG_IGN);
    do
        got = read(from, &status, 1);
    while (got < 0 && errno == EINTR);
    _exit(got == 1 ? status : STATUS_BUG);
}

int history_begin(struct history *h)
{
    int lifeline[2], status[2];

    memset(h, 0, sizeof *h);
    h->shared = mmap(NULL, sizeof *h->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (h->shared == MAP_FAILED || pipe(lifeline) || pipe(status) || pipe(h->report))
        return -1;
    fflush(NULL);
    pid_t pid = fork();

    if (pid < 0)
        return -1;
    if (pid) {
        close(lifeline[0]);
        close(status[1]);
        close(h->report[0]);
        close(h->report[1]);
        wait_for_status(status[0]);
    }
    close(lifeline[1]);
    close(status[0]);
    h->lifeline = lifeline[0];
    h->status = status[1];
    return 0;
}

void history_exit(struct history *h, int status)
{
    unsigned char byte = (unsigned char)status;

    history_forget(h);
    fflush(NULL);
    while (write(h->status, &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(status);
}

bool history_orphaned(const struct history *h)
{
    struct pollfd p = {.fd = h->lifeline, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

// --- Snapshots. ---

static void send_order(const struct history_point *p, char order)
{
    while (write(p->order, &order, 1) < 0 && errno == EINTR)
        ;
}

static unsigned find_alive(const struct history_shared *s, uint32_t number)
{
    unsigned i = 0;

    while (i < s->alive_count && s->alive[i] != number)
        i++;
    return i;
}

static void drop(struct history *h, unsigned i)
{
    struct history_shared *s = h->shared;
    unsigned at = find_alive(s, h->points[i].number);

    if (at < s->alive_count) {
        send_order(&h->points[i], ORDER_END);
        s->alive[at] = s->alive[--s->alive_count];
    }
    close(h->points[i].order);
    memmove(&h->points[i], &h->points[i + 1], (--h->point_count - i) * sizeof *h->points);
}

void history_forget(struct history *h)
{
    while (h->point_count)
        drop(h, h->point_count - 1);
}

// The first and the last stay.
static void thin(struct history *h, uint64_t now)
{
    unsigned worst = 1;
    double least = 0;

    for (unsigned i = 1; i + 1 < h->point_count; i++) {
        double gap = (double)(h->points[i + 1].position - h->points[i - 1].position);
        double weight = gap / (double)(now - h->points[i].position + 1);

        if (i == 1 || weight < least) {
            least = weight;
            worst = i;
        }
    }
    drop(h, worst);
}

static void report(struct history *h, char what)
{
    while (write(h->report[1], &what, 1) < 0 && errno == EINTR)
        ;
}

// A scan that ends without a word is a bug of ours; who waits must not wait for ever.
static void await_scan(struct history *h, pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        report(h, REPORT_LOST);
}

// In a copy: what has gone since its snapshot was made.
static void forget_gone(struct history *h)
{
    for (unsigned i = h->point_count; i-- > 0;)
        if (find_alive(h->shared, h->points[i].number) == h->shared->alive_count)
            drop(h, i);
}

// Sleeps until there is an order; returns in a copy that carries it out.
static enum history_role sleep_at(struct history *h, int orders)
{
    struct pollfd p[2] = {{.fd = orders, .events = POLLIN}, {.fd = h->lifeline, .events = POLLIN}};
    char order;

    for (;;) {
        if (poll(p, 2, -1) < 0)
            continue;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (p[1].revents || (p[0].revents && read(orders, &order, 1) != 1))
            _exit(0);
        if (!p[0].revents)
            continue;
        if (order == ORDER_END)
            _exit(0);
        const enum history_role role = h->shared->order.role;
        pid_t pid = fork();

        if (pid == 0) {
            close(orders);
            forget_gone(h);
            return role;
        }
        if (pid < 0)
            report(h, REPORT_LOST);
        else if (role == HISTORY_SCAN)
            await_scan(h, pid);
    }
}

enum history_role history_snapshot(struct history *h, uint64_t position)
{
    int orders[2];

    if (h->point_count && h->points[h->point_count - 1].position >= position)
        return HISTORY_LIVE;
    if (h->point_count == HISTORY_POINTS_MAX)
        thin(h, position);
    if (pipe(orders))
        return HISTORY_LIVE; // Out of descriptors: going back takes longer.
    struct history_shared *s = h->shared;

    fflush(NULL);
    // The copy can give orders to its own snapshot.
    h->points[h->point_count++] = (struct history_point){position, orders[1], ++s->last_number};
    s->alive[s->alive_count++] = s->last_number;
    pid_t pid = fork();

    if (pid == 0)
        return sleep_at(h, orders[0]);
    close(orders[0]);
    if (pid < 0) {
        s->alive_count--;
        close(h->points[--h->point_count].order);
    }
    return HISTORY_LIVE;
}

// --- Going back. ---

// True: the scan has reported.
static bool await_report(struct history *h, int fd)
{
    struct pollfd p[3] = {{.fd = h->report[0], .events = POLLIN},
                          {.fd = h->lifeline, .events = POLLIN},
                          {.fd = fd, .events = POLLIN}};
    char byte;

    for (;;) {
        if (poll(p, 3, -1) < 0)
            continue;
        if (p[1].revents)
            _exit(0);
        if (p[0].revents)
            return read(h->report[0], &byte, 1) == 1 && byte == REPORT_DONE;
        // Whatever gdb sends while it waits means that it does not want to; who talks with it reads it later.
        h->shared->cancel = true;
        p[2].fd = -1;
    }
}

uint64_t history_search(struct history *h, struct history_order how, uint64_t bound, int fd)
{
    struct history_shared *s = h->shared;

    s->cancel = false;
    for (unsigned i = h->point_count; i-- > 0;) {
        const struct history_point *p = &h->points[i];

        if (p->position >= bound)
            continue;
        s->order = how;
        s->order.role = HISTORY_SCAN;
        s->order.bound = bound;
        s->found = 0;
        send_order(p, ORDER_WORK);
        if (!await_report(h, fd) || s->cancel)
            return 0;
        if (s->found)
            return s->found;
        bound = p->position;
    }
    return 0;
}

void history_found(struct history *h)
{
    report(h, REPORT_DONE);
    _exit(0);
}

void history_seek(struct history *h, uint64_t position)
{
    while (h->point_count > 1 && h->points[h->point_count - 1].position > position)
        drop(h, h->point_count - 1);
    h->shared->order = (struct history_order){.role = HISTORY_SEEK, .bound = position};
    fflush(NULL);
    send_order(&h->points[h->point_count - 1], ORDER_WORK);
    _exit(0);
}
