// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/gdb/packets.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define READ_MAX (RSP_TEXT_MAX / 2)

struct asked {
    struct gdb_state *s;
    const struct gdb_target *t;
    const char *args; // Behind the packet's name
    struct gdb_reply *reply;
};
typedef enum gdb_verdict (*packet_fn)(struct asked *a);

static __attribute__((format(printf, 2, 3))) enum gdb_verdict say(struct asked *a, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    a->reply->length = (size_t)vsnprintf(a->reply->text, sizeof a->reply->text, format, args);
    va_end(args);
    return GDB_STAY;
}

static enum gdb_verdict ok(struct asked *a)
{
    return say(a, "OK");
}

// 01: malformed; 0e: no such address, thread or register; 1e: not allowed.
static enum gdb_verdict wrong(struct asked *a, unsigned code)
{
    return say(a, "E%02x", code);
}
#define MALFORMED 0x01u
#define ABSENT 0x0eu
#define REFUSED 0x1eu

// A thread: 0 any, -1 all. False: none of ours.
static bool read_thread(struct asked *a, const char **at, unsigned *thread)
{
    uint64_t value;

    if (strncmp(*at, "-1", 2) == 0) {
        *at += 2;
        *thread = 0;
        return true;
    }
    if (!rsp_number(at, &value) || value > a->t->threads)
        return false;
    *thread = (unsigned)value;
    return true;
}

static unsigned selected(const struct asked *a)
{
    return a->s->selected ? a->s->selected : a->s->current;
}

// "A,B" at *at.
static bool read_pair(const char **at, uint64_t *first, uint64_t *second)
{
    if (!rsp_number(at, first) || **at != ',')
        return false;
    ++*at;
    return rsp_number(at, second);
}

// --- Asking about the target. ---

static enum gdb_verdict q_supported(struct asked *a)
{
    return say(a,
               "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+;"
               "ReverseStep+;ReverseContinue+",
               RSP_TEXT_MAX);
}

static enum gdb_verdict q_no_ack(struct asked *a)
{
    a->s->no_ack = true;
    return ok(a);
}

static enum gdb_verdict q_features(struct asked *a)
{
    const char *xml = gdb_regs_xml();
    uint64_t from, size, all = strlen(xml);

    if (!read_pair(&a->args, &from, &size))
        return wrong(a, MALFORMED);
    if (from >= all)
        return say(a, "l");
    if (size > RSP_TEXT_MAX - 1)
        size = RSP_TEXT_MAX - 1;
    if (size > all - from)
        size = all - from;
    return say(a, "%c%.*s", from + size < all ? 'm' : 'l', (int)size, xml + from);
}

static enum gdb_verdict q_threads(struct asked *a)
{
    size_t at = 0;

    for (unsigned i = 1; i <= a->t->threads && at + 16 < sizeof a->reply->text; i++)
        at +=
            (size_t)snprintf(a->reply->text + at, sizeof a->reply->text - at, "%c%x", i == 1 ? 'm' : ',', i);
    a->reply->length = at;
    return GDB_STAY;
}

static enum gdb_verdict q_no_more_threads(struct asked *a)
{
    return say(a, "l");
}

static enum gdb_verdict q_current(struct asked *a)
{
    return say(a, "QC%x", a->s->current);
}

static enum gdb_verdict q_thread_info(struct asked *a)
{
    char text[100];
    unsigned thread;

    if (!read_thread(a, &a->args, &thread) || !thread)
        return wrong(a, ABSENT);
    a->t->describe(a->t->ctx, thread, text, sizeof text);
    rsp_hex(a->reply->text, text, strlen(text));
    a->reply->length = 2 * strlen(text);
    return GDB_STAY;
}

// The run goes on when gdb leaves.
static enum gdb_verdict q_attached(struct asked *a)
{
    return say(a, "1");
}

static enum gdb_verdict q_monitor(struct asked *a)
{
    char command[256];
    size_t size;
    FILE *out = open_memstream(&a->reply->said, &size);

    command[rsp_bytes(a->args, command, sizeof command - 1)] = 0;
    if (!out)
        return wrong(a, MALFORMED);
    a->t->monitor(a->t->ctx, selected(a), command, out);
    fclose(out);
    return ok(a);
}

static enum gdb_verdict last_stop(struct asked *a)
{
    return say(a, "%s", a->s->stopped);
}

static enum gdb_verdict alive(struct asked *a)
{
    unsigned thread;

    return read_thread(a, &a->args, &thread) && thread ? ok(a) : wrong(a, ABSENT);
}

static enum gdb_verdict select_thread(struct asked *a)
{
    char what = *a->args;
    unsigned thread;

    a->args += what != 0;
    if (!read_thread(a, &a->args, &thread))
        return wrong(a, ABSENT);
    if (what == 'g')
        a->s->selected = thread;
    else
        a->s->moving = thread;
    return ok(a);
}

// --- Registers and memory. ---

static enum gdb_verdict all_registers(struct asked *a)
{
    const struct gdb_regs *r = a->t->regs(a->t->ctx, selected(a));
    size_t at = 0, size;

    for (unsigned i = 0; i < gdb_reg_count(); i++, at += 2 * size) {
        const void *bytes = gdb_reg(r, i, &size);

        rsp_hex(a->reply->text + at, bytes, size);
    }
    a->reply->length = at;
    return GDB_STAY;
}

static enum gdb_verdict one_register(struct asked *a)
{
    uint64_t n;
    size_t size;

    if (!rsp_number(&a->args, &n))
        return wrong(a, MALFORMED);
    if (n >= gdb_reg_count())
        return wrong(a, ABSENT);
    const void *bytes = gdb_reg(a->t->regs(a->t->ctx, selected(a)), (unsigned)n, &size);

    rsp_hex(a->reply->text, bytes, size);
    a->reply->length = 2 * size;
    return GDB_STAY;
}

static enum gdb_verdict read_memory(struct asked *a)
{
    uint8_t bytes[READ_MAX];
    uint64_t address, size;

    if (!read_pair(&a->args, &address, &size))
        return wrong(a, MALFORMED);
    size = a->t->read(a->t->ctx, selected(a), address, bytes, size < READ_MAX ? size : READ_MAX);
    if (!size)
        return wrong(a, ABSENT);
    rsp_hex(a->reply->text, bytes, size);
    a->reply->length = 2 * size;
    return GDB_STAY;
}

static enum gdb_verdict refuse(struct asked *a)
{
    return wrong(a, REFUSED);
}

// --- Breakpoints and watchpoints. ---

static bool read_stop(struct asked *a, struct gdb_stop *stop)
{
    unsigned kind = (unsigned)(*a->args - '0');

    if (kind >= GDB_STOP_KINDS || a->args[1] != ',')
        return false;
    a->args += 2;
    *stop = (struct gdb_stop){.kind = (enum gdb_stop_kind)kind};
    // Conditions and commands, which follow a semicolon, were not offered.
    return read_pair(&a->args, &stop->address, &stop->size) && *a->args == 0;
}

static unsigned find_stop(const struct gdb_state *s, const struct gdb_stop *stop)
{
    unsigned i = 0;

    while (i < s->stop_count && (s->stops[i].kind != stop->kind || s->stops[i].address != stop->address ||
                                 s->stops[i].size != stop->size))
        i++;
    return i;
}

// Inserting one that is there already is no mistake: gdb may repeat itself.
static enum gdb_verdict insert(struct asked *a)
{
    struct gdb_stop stop;
    unsigned at;

    if (!read_stop(a, &stop))
        return wrong(a, MALFORMED);
    at = find_stop(a->s, &stop);
    if (at == GDB_STOPS_MAX)
        return wrong(a, REFUSED);
    a->s->stops[at] = stop;
    if (at == a->s->stop_count)
        a->s->stop_count++;
    return ok(a);
}

static enum gdb_verdict take_out(struct asked *a)
{
    struct gdb_stop stop;
    unsigned at;

    if (!read_stop(a, &stop))
        return wrong(a, MALFORMED);
    at = find_stop(a->s, &stop);
    if (at < a->s->stop_count)
        a->s->stops[at] = a->s->stops[--a->s->stop_count];
    return ok(a);
}

// --- Moving. ---

static enum gdb_verdict move(struct asked *a, enum gdb_verdict verdict)
{
    a->s->stepping = a->s->moving ? a->s->moving : a->s->current;
    return verdict;
}

// Another address to go on at would be a write of RIP.
static enum gdb_verdict go(struct asked *a)
{
    return *a->args ? wrong(a, REFUSED) : move(a, GDB_CONTINUE);
}

static enum gdb_verdict step(struct asked *a)
{
    return *a->args ? wrong(a, REFUSED) : move(a, GDB_STEP);
}

// With a signal: there are none here.
static enum gdb_verdict go_signal(struct asked *a)
{
    return strchr(a->args, ';') ? wrong(a, REFUSED) : move(a, GDB_CONTINUE);
}

static enum gdb_verdict step_signal(struct asked *a)
{
    return strchr(a->args, ';') ? wrong(a, REFUSED) : move(a, GDB_STEP);
}

static enum gdb_verdict back_go(struct asked *a)
{
    return move(a, GDB_BACK_CONTINUE);
}

static enum gdb_verdict back_step(struct asked *a)
{
    return move(a, GDB_BACK_STEP);
}

static enum gdb_verdict cont_kinds(struct asked *a)
{
    return say(a, "vCont;c;C;s;S");
}

// "ACTION[:THREAD];...": the others run as well, in simulated time, whatever gdb would have them do.
static enum gdb_verdict cont(struct asked *a)
{
    const char *at = a->args;
    unsigned thread = 0, stepping = 0;
    bool steps = false;

    do {
        char action = *at ? *at++ : 0;
        uint64_t signal;

        if (!action || !strchr("cCsS", action) || ((action & 0x20) == 0 && !rsp_number(&at, &signal)))
            return wrong(a, MALFORMED);
        thread = 0;
        if (*at == ':' && (at++, !read_thread(a, &at, &thread)))
            return wrong(a, ABSENT);
        if ((action | 0x20) == 's' && !steps) {
            steps = true;
            stepping = thread;
        }
    } while (*at++ == ';');
    a->s->stepping = stepping ? stepping : a->s->current;
    return steps ? GDB_STEP : GDB_CONTINUE;
}

static enum gdb_verdict detach(struct asked *a)
{
    ok(a);
    return GDB_DETACH;
}

static enum gdb_verdict kill_run(struct asked *a)
{
    ok(a);
    return GDB_KILL;
}

// The first whose name begins the packet.
static const struct {
    const char *name;
    packet_fn fn;
} table[] = {
    {"qSupported", q_supported},
    {"QStartNoAckMode", q_no_ack},
    {"qXfer:features:read:target.xml:", q_features},
    {"qfThreadInfo", q_threads},
    {"qsThreadInfo", q_no_more_threads},
    {"qThreadExtraInfo,", q_thread_info},
    {"qAttached", q_attached},
    {"qRcmd,", q_monitor},
    {"qC", q_current},
    {"?", last_stop},
    {"T", alive},
    {"H", select_thread},
    {"g", all_registers},
    {"p", one_register},
    {"G", refuse},
    {"P", refuse},
    {"m", read_memory},
    {"M", refuse},
    {"X", refuse},
    {"Z", insert},
    {"z", take_out},
    {"vCont?", cont_kinds},
    {"vCont;", cont},
    {"vKill", kill_run},
    {"c", go},
    {"C", go_signal},
    {"s", step},
    {"S", step_signal},
    {"bc", back_go},
    {"bs", back_step},
    {"D", detach},
    {"k", kill_run},
};

enum gdb_verdict gdb_packet(struct gdb_state *s, const struct gdb_target *t, const char *text, size_t length,
                            struct gdb_reply *reply)
{
    struct asked a = {s, t, text, reply};

    reply->length = 0;
    reply->said = NULL;
    reply->text[0] = 0;
    if (strlen(text) != length) // Text ends at a 0, and no packet has one but X, which is refused.
        return wrong(&a, *text == 'X' ? REFUSED : MALFORMED);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strncmp(text, table[i].name, strlen(table[i].name)) == 0) {
            a.args = text + strlen(table[i].name);
            return table[i].fn(&a);
        }
    return say(&a, "%s", "");
}
