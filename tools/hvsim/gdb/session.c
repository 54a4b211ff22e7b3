// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/gdb/session.h"

#include "models/cpu/x86/x86_state.h"
#include "tools/hvsim/watch.h"
#include <inttypes.h>
#include <stdlib.h>

#define POLL_INTERVAL (1u << 14) // Instructions between looks at the socket
// Snapshots on the way to a target: so far before it, and closer and closer.
#define SEEK_FIRST (1u << 16)
#define SEEK_SHRINK 16u
#define SIGNAL_INT 2
#define SIGNAL_TRAP 5

static void leave(struct session *s)
{
    const struct machine *m = machine_hardware(s->machine);

    for (uint32_t i = 0; i < m->cpu_count; i++)
        x86_observe(m->cpus[i], NULL);
    history_forget(&s->history);
    s->mode = SESSION_OVER;
}

static void give_up(struct session *s)
{
    s->killed = true;
    leave(s);
    machine_interrupt(s->machine);
}

// --- Where there is something to look at. ---

static bool is_breakpoint(const struct gdb_stop *stop)
{
    return stop->kind == GDB_SOFTWARE || stop->kind == GDB_HARDWARE;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void plan(struct session *s)
{
    const struct history_shared *h = s->history.shared;

    s->filter = 0;
    for (unsigned i = 0; i < h->state.stop_count; i++)
        if (is_breakpoint(&h->state.stops[i]))
            s->filter |= 1ull << h->state.stops[i].address % 64;
    s->look =
        s->mode == SESSION_LIVE ? s->stepping != 0 : s->mode == SESSION_SCANNING && h->order.instructions;
    s->next_look = s->mode == SESSION_SCANNING ? sooner(s->next_poll, h->order.bound)
                                               : sooner(s->next_poll, s->next_snapshot);
    if (s->mode == SESSION_SEEKING)
        s->next_look = sooner(s->next_look, h->order.bound);
}

static const struct gdb_stop *breakpoint_at(const struct session *s, uint64_t linear)
{
    const struct gdb_state *g = &s->history.shared->state;

    for (unsigned i = 0; i < g->stop_count; i++)
        if (is_breakpoint(&g->stops[i]) && g->stops[i].address == linear)
            return &g->stops[i];
    return NULL;
}

// --- Stops. ---

static void stop_text(struct session *s, unsigned signal, unsigned thread, const char *why)
{
    struct gdb_state *g = &s->history.shared->state;

    g->current = thread;
    g->selected = 0;
    snprintf(g->stopped, sizeof g->stopped, "T%02xthread:%x;%s", signal, thread, why);
}

static void breakpoint_text(struct session *s, unsigned thread, const struct gdb_stop *stop)
{
    stop_text(s, SIGNAL_TRAP, thread, stop->kind == GDB_SOFTWARE ? "swbreak:;" : "hwbreak:;");
}

static void hit_text(struct session *s, unsigned thread, const struct gdb_hit *hit)
{
    static const char *const names[GDB_STOP_KINDS] = {
        [GDB_WRITE] = "watch", [GDB_READ] = "rwatch", [GDB_ACCESS] = "awatch"};
    char why[60];

    snprintf(why, sizeof why, "%s:%" PRIx64 ";", names[hit->kind], hit->address);
    stop_text(s, SIGNAL_TRAP, thread, why);
}

// --- Talking with gdb. ---

static bool send_text(struct session *s, const char *text, size_t length)
{
    static char out[RSP_ENCODED_MAX(RSP_TEXT_MAX)];

    return server_write(&s->server, out, rsp_encode(out, text, length));
}

// What a monitor command said, in packets of console output.
static bool send_said(struct session *s, const char *said)
{
    char text[2 * 1024 + 2] = "O";

    for (size_t left = strlen(said); left;) {
        size_t piece = left < 1024 ? left : 1024;

        rsp_hex(text + 1, said, piece);
        if (!send_text(s, text, 1 + 2 * piece))
            return false;
        said += piece;
        left -= piece;
    }
    return true;
}

static bool send_stop(struct session *s)
{
    const char *text = s->history.shared->state.stopped;

    return send_text(s, text, strlen(text));
}

// Where going back ends: positions before this one. A vCPU may be in the middle of an instruction while
// another one stops; a step back of it goes to the one before.
static uint64_t bound_of(struct session *s, bool step)
{
    const unsigned thread = s->history.shared->state.stepping;
    const struct view_vcpu *g = &s->view.vcpus[thread - 1];
    bool before = s->at_instruction && g->begun == s->position;

    if (step && !before && g->begun && view_regs(&s->view, thread)->rip == g->begun_rip)
        return g->begun;
    return s->position + (s->at_instruction ? 0 : 1);
}

// Goes back, which ends this process, unless there is nothing to go back to. False: gdb is gone.
static bool go_back(struct session *s, bool step)
{
    struct history_shared *h = s->history.shared;
    uint64_t bound = bound_of(s, step), to;
    const struct history_order how = {.instructions = step, .thread = h->state.stepping};

    if (bound <= 1) {
        stop_text(s, SIGNAL_TRAP, h->state.current, "replaylog:begin;");
        return send_stop(s);
    }
    to = history_search(&s->history, how, bound, s->server.fd);
    if (!to && (h->cancel || step)) {
        stop_text(s, h->cancel ? SIGNAL_INT : SIGNAL_TRAP, h->state.current,
                  h->cancel ? "" : "replaylog:begin;");
        return send_stop(s);
    }
    fflush(NULL);
    history_seek(&s->history, to ? to : 1);
}

// One packet. False: gdb is gone, or has let us go; *resumed: the run goes on.
static bool answer(struct session *s, bool *resumed)
{
    static struct gdb_reply reply;
    struct history_shared *h = s->history.shared;
    const struct gdb_target target = {.ctx = &s->view,
                                      .threads = s->view.count,
                                      .regs = view_regs,
                                      .read = view_read,
                                      .describe = view_describe,
                                      .monitor = view_monitor};
    bool ack = !h->state.no_ack;
    enum gdb_verdict verdict;
    bool good = true;

    if (ack)
        server_write(&s->server, "+", 1);
    verdict = gdb_packet(&h->state, &target, h->rsp.text, h->rsp.length, &reply);
    if (reply.said)
        good = send_said(s, reply.said);
    free(reply.said);
    if (verdict == GDB_STAY || verdict == GDB_DETACH || (verdict == GDB_KILL && h->rsp.text[0] == 'v'))
        good = good && send_text(s, reply.text, reply.length);
    if (verdict == GDB_BACK_CONTINUE || verdict == GDB_BACK_STEP)
        return go_back(s, verdict == GDB_BACK_STEP);
    if (verdict == GDB_DETACH)
        leave(s);
    if (verdict == GDB_KILL)
        give_up(s);
    s->stepping = verdict == GDB_STEP ? h->state.stepping : 0;
    *resumed = verdict == GDB_CONTINUE || verdict == GDB_STEP;
    return good && s->mode == SESSION_LIVE;
}

// One byte from gdb while it is its turn.
static bool take(struct session *s, uint8_t byte, bool *resumed)
{
    switch (rsp_feed(&s->history.shared->rsp, byte)) {
    case RSP_PACKET:
        return answer(s, resumed);
    case RSP_BAD:
        return server_write(&s->server, "-", 1);
    case RSP_RESEND: // A socket loses nothing.
    case RSP_INTERRUPT:
    case RSP_NONE:
        break;
    }
    return true;
}

// Until gdb lets the run go on. Bytes are taken one by one: what follows a packet may be for another process.
static void converse(struct session *s)
{
    bool resumed = false, good = true;
    uint8_t byte;

    while (good && !resumed) {
        int got = server_read(&s->server, s->history.lifeline, &byte, 1, true);

        if (watch_interrupted())
            got = -1;
        good = got >= 0;
        if (got > 0)
            good = take(s, byte, &resumed);
    }
    if (!good && s->mode == SESSION_LIVE) // Gone without a word.
        give_up(s);
    plan(s);
}

static void stop(struct session *s, bool at_instruction)
{
    s->at_instruction = at_instruction;
    if (send_stop(s))
        converse(s);
    else
        give_up(s);
}

// Looks whether gdb wants the run to stop: true if so.
static bool interrupted(struct session *s)
{
    uint8_t byte;
    int got = server_read(&s->server, s->history.lifeline, &byte, 1, false);

    s->next_poll = s->position + POLL_INTERVAL;
    if (got < 0 || history_orphaned(&s->history)) {
        give_up(s);
        return false;
    }
    return got > 0 && rsp_feed(&s->history.shared->rsp, byte) == RSP_INTERRUPT;
}

// --- Snapshots. ---

// In a copy that has woken up: it has an order.
static void wake(struct session *s, enum history_role role)
{
    s->mode = role == HISTORY_SCAN ? SESSION_SCANNING : SESSION_SEEKING;
    s->stepping = 0;
    for (uint32_t i = 0; i < s->view.count; i++)
        s->view.vcpus[i].hit.set = false;
    s->next_poll = s->position + POLL_INTERVAL;
}

static void snapshot(struct session *s)
{
    enum history_role role = history_snapshot(&s->history, s->position);
    uint64_t left = SEEK_FIRST;

    if (role != HISTORY_LIVE)
        wake(s, role);
    s->next_snapshot = s->position + HISTORY_INTERVAL;
    if (s->mode != SESSION_SEEKING)
        return;
    const uint64_t target = s->history.shared->order.bound;

    while (left > 1 && target < s->position + left + 1)
        left /= SEEK_SHRINK;
    s->next_snapshot = target > s->position + left ? target - left : target + 1;
}

// --- What the observer hears. ---

static bool welcome(struct session *s)
{
    if (!server_listen(&s->server))
        return false;
    fprintf(stderr, "hvsim: waiting for gdb: target remote %s\n", s->server.target);
    while (!server_accept(&s->server, s->history.lifeline))
        if (watch_interrupted() || history_orphaned(&s->history))
            return false;
    s->mode = SESSION_LIVE;
    s->next_snapshot = s->position;
    stop_text(s, SIGNAL_TRAP, 1, "");
    return true;
}

static void look_live(struct session *s, struct view_vcpu *g, uint64_t linear)
{
    const unsigned thread = (unsigned)(g - s->view.vcpus) + 1;
    const struct gdb_stop *at = breakpoint_at(s, linear);
    const struct gdb_hit hit = g->hit;

    g->hit.set = false;
    if (hit.set)
        hit_text(s, thread, &hit);
    else if (at)
        breakpoint_text(s, thread, at);
    else if (s->stepping == thread)
        stop_text(s, SIGNAL_TRAP, thread, "");
    else if (s->position >= s->next_poll && interrupted(s))
        stop_text(s, SIGNAL_INT, thread, "");
    else
        return;
    if (s->mode == SESSION_LIVE)
        stop(s, true);
}

static void look_scanning(struct session *s, const struct view_vcpu *g, uint64_t linear)
{
    struct history_shared *h = s->history.shared;

    if (s->position >= h->order.bound || h->cancel)
        history_found(&s->history);
    s->next_poll = s->position + POLL_INTERVAL;
    if (h->order.instructions ? h->order.thread == (unsigned)(g - s->view.vcpus) + 1
                              : breakpoint_at(s, linear) != NULL) {
        h->found = s->position;
        h->hit.set = false;
    }
}

static void look_seeking(struct session *s, struct view_vcpu *g, uint64_t linear)
{
    struct history_shared *h = s->history.shared;
    const unsigned thread = (unsigned)(g - s->view.vcpus) + 1;
    const struct gdb_stop *at = breakpoint_at(s, linear);

    if (s->position != h->order.bound) {
        s->next_poll = s->position + POLL_INTERVAL;
        return;
    }
    s->mode = SESSION_LIVE;
    watch_start();
    if (!h->found)
        stop_text(s, SIGNAL_TRAP, thread, "replaylog:begin;");
    else if (h->hit.set)
        hit_text(s, thread, &h->hit);
    else if (at)
        breakpoint_text(s, thread, at);
    else
        stop_text(s, SIGNAL_TRAP, thread, "");
    stop(s, true);
}

static void look(struct session *s, struct view_vcpu *g, uint64_t linear)
{
    if (s->mode == SESSION_WAITING && !welcome(s)) {
        give_up(s);
        return;
    }
    if (s->position >= s->next_snapshot && s->mode != SESSION_SCANNING)
        snapshot(s);
    if (s->mode == SESSION_LIVE && !s->history.shared->begun) {
        s->history.shared->begun = true;
        s->at_instruction = true;
        converse(s);
    } else if (s->mode == SESSION_LIVE) {
        look_live(s, g, linear);
    } else if (s->mode == SESSION_SCANNING) {
        look_scanning(s, g, linear);
    } else if (s->mode == SESSION_SEEKING) {
        look_seeking(s, g, linear);
    }
    plan(s);
}

static void on_instruction(struct guest_observer *o, struct pcpu *c)
{
    struct session *s = (struct session *)o;
    const struct vmx *v = &c->x86->vmx;
    struct view_vcpu *g = view_of(&s->view, c);
    uint64_t linear;
    bool same;

    if (!g)
        return;
    g->cpu = c;
    g->in_guest = true;
    same = g->unfinished && v->rip == g->unfinished_rip;
    g->unfinished = false;
    if (same)
        return;
    g->begun = ++s->position;
    g->begun_rip = v->rip;
    g->instructions++;
    linear = view_pc(v);
    if (s->position >= s->next_look || s->look || g->hit.set || s->filter >> linear % 64 & 1)
        look(s, g, linear);
}

static void on_unfinished(struct guest_observer *o, struct pcpu *c)
{
    const struct session *s = (const struct session *)o;
    struct view_vcpu *g = view_of(&s->view, c);

    if (g) {
        g->unfinished = true;
        g->unfinished_rip = c->x86->vmx.rip;
    }
}

static bool concerns(const struct gdb_stop *stop, uint64_t linear, unsigned size, bool write)
{
    bool kind = stop->kind == GDB_ACCESS || stop->kind == (write ? GDB_WRITE : GDB_READ);

    return kind && linear < stop->address + stop->size && linear + size > stop->address;
}

static void on_access(struct guest_observer *o, struct pcpu *c, uint64_t linear, unsigned size, bool write)
{
    struct session *s = (struct session *)o;
    struct history_shared *h = s->history.shared;
    struct view_vcpu *g = view_of(&s->view, c);

    for (unsigned i = 0; g && i < h->state.stop_count; i++) {
        const struct gdb_stop *stop = &h->state.stops[i];

        if (!concerns(stop, linear, size, write))
            continue;
        const struct gdb_hit hit = {true, (uint8_t)stop->kind, stop->address};

        if (s->mode == SESSION_LIVE) {
            g->hit = hit;
        } else if (s->mode == SESSION_SCANNING && !h->order.instructions && g->begun >= h->found) {
            h->found = g->begun;
            h->hit = hit;
        }
    }
}

static void on_left(struct guest_observer *o, struct pcpu *c, uint32_t reason)
{
    struct session *s = (struct session *)o;
    struct view_vcpu *g = view_of(&s->view, c);

    if (!g)
        return;
    view_capture(&g->regs, c);
    g->cpu = c;
    g->in_guest = false;
    g->last_reason = reason;
    if (reason < VIEW_REASONS)
        g->exits[reason]++;
}

// --- The run. ---

bool session_open(struct session *s, struct sim_machine *m, const struct scenario *scenario)
{
    s->observer = (struct guest_observer){on_instruction, on_unfinished, on_access, on_left};
    s->machine = m;
    s->mode = SESSION_WAITING;
    return view_open(&s->view, m, scenario);
}

void session_close(struct session *s)
{
    view_close(&s->view);
    server_close(&s->server);
}

void session_attention(struct session *s)
{
    if (s->mode == SESSION_SCANNING && s->history.shared->cancel)
        history_found(&s->history);
    if (s->mode != SESSION_LIVE || !interrupted(s))
        return;
    stop_text(s, SIGNAL_INT, s->history.shared->state.current, "");
    stop(s, false);
}

void session_end(struct session *s)
{
    if (s->mode == SESSION_SCANNING)
        history_found(&s->history);
    if (s->mode == SESSION_SEEKING)
        abort(); // The run was another one than before.
    if (s->mode != SESSION_LIVE)
        return;
    stop_text(s, SIGNAL_TRAP, s->history.shared->state.current, "replaylog:end;");
    stop(s, false);
}

bool session_console(struct session *s)
{
    struct history_shared *h = s->history.shared;

    if (++s->console_bytes <= h->console_bytes || s->mode == SESSION_SCANNING)
        return false;
    h->console_bytes = s->console_bytes;
    return true;
}

void session_exited(struct session *s, int status)
{
    char text[8];

    snprintf(text, sizeof text, "W%02x", status & 0xff);
    if (s->mode == SESSION_LIVE)
        send_text(s, text, strlen(text));
}
