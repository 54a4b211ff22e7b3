// SPDX-License-Identifier: Apache-2.0
// Exits that waited long enough become lines of a stream.
#include "tools/hvsim/import/vcpu.h"

#include "sim/scenario/stream.h"
#include "spec/exit_reasons.h"

#include <assert.h>
#include <string.h>

#define LONGEST_NS 3600000000000u // An hour.
#define TSC_SPAN_MIN_NS 1000000u  // Below a millisecond the trace's resolution says too little.
#define TSC_OUTLIERS_MAX 4u
#define KHZ_MIN 100000u
#define KHZ_MAX 10000000u

static uint64_t khz_between(uint64_t ns, uint64_t cycles)
{
    return (uint64_t)((unsigned __int128)cycles * 1000000u / ns);
}

// A point far from the line so far: events were lost around it, or the guest's TSC jumped.
static bool is_outlier(const struct tsc_line *line, uint64_t time_ns, uint64_t tsc)
{
    if (!line->has_last) {
        return false;
    }
    if (time_ns <= line->last_ns || tsc <= line->last_tsc) {
        return true;
    }
    uint64_t known = tsc_line_khz(line);
    if (known == 0 || time_ns - line->last_ns < TSC_SPAN_MIN_NS) {
        return false;
    }
    uint64_t now = khz_between(time_ns - line->last_ns, tsc - line->last_tsc);
    return now > known + known / 50 || now + known / 50 < known;
}

void tsc_line_add(struct tsc_line *line, uint64_t time_ns, uint64_t tsc)
{
    if (is_outlier(line, time_ns, tsc)) {
        if (++line->outliers < TSC_OUTLIERS_MAX) {
            return;
        }
        *line = (struct tsc_line){0}; // It was the line that is wrong.
    }
    line->outliers = 0;
    if (!line->has_first) {
        line->first_ns = time_ns;
        line->first_tsc = tsc;
        line->has_first = true;
    }
    line->last_ns = time_ns;
    line->last_tsc = tsc;
    line->has_last = true;
}

uint64_t tsc_line_khz(const struct tsc_line *line)
{
    if (!line->has_last || line->last_ns - line->first_ns < TSC_SPAN_MIN_NS) {
        return 0;
    }
    uint64_t khz = khz_between(line->last_ns - line->first_ns, line->last_tsc - line->first_tsc);
    return khz >= KHZ_MIN && khz <= KHZ_MAX ? khz : 0;
}

bool tsc_line_until(const struct tsc_line *line, uint64_t time_ns, uint64_t tsc, int64_t *ns)
{
    uint64_t khz = tsc_line_khz(line);
    if (khz == 0) {
        return false;
    }
    __int128 at_ns = (__int128)line->last_ns + ((__int128)tsc - line->last_tsc) * 1000000 / (__int128)khz;
    __int128 until = at_ns - time_ns;
    const int64_t limit = (int64_t)STREAM_GAP_MAX;
    *ns = until > limit ? limit : until < -limit ? -limit : (int64_t)until;
    return true;
}

static uint64_t later_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

// How far from its write a deadline is set, so that the simulated exits keep the recorded order:
// what the guest really asked for if the TSC is known, else when it was seen to fire; never before the exits
// that come first, and never reached if the next write came first.
static uint64_t deadline_ns(const struct vcpu *vcpu, const struct exit_record *r)
{
    int64_t until = 0;
    bool known = tsc_line_until(&vcpu->tsc, r->time_ns, r->deadline_tsc, &until);
    uint64_t asked = known && until > 0 ? (uint64_t)until : 0;
    uint64_t slack = ORDER_SLACK_NS * ((uint64_t)r->between_count + 1);
    uint64_t order = r->not_before_ns > r->time_ns ? r->not_before_ns - r->time_ns + slack : 0;
    uint64_t seen = r->fired_ns > r->time_ns ? r->fired_ns - r->time_ns : 0;
    switch (r->fate) {
    case FATE_AT_ONCE:
        return 0;
    case FATE_IN_HLT:
        return later_of(asked != 0 ? asked : seen, order);
    case FATE_IN_GUEST:
        return later_of(later_of(asked != 0 ? asked : seen, r->between_count > 0 ? order : 0), 1000);
    case FATE_LATER:
        break;
    case FATE_OPEN:
        return asked != 0 ? asked : LONGEST_NS;
    }
    if (r->next_write_ns <= r->time_ns) {
        return LONGEST_NS;
    }
    uint64_t distance = r->next_write_ns - r->time_ns;
    return later_of(asked, distance + distance / 4 + slack + 2 * ORDER_SLACK_NS);
}

static void put(struct vcpu *vcpu, const char *text, size_t size)
{
    if (vcpu->text_size + size > VCPU_TEXT_BYTES) {
        vcpu->failed = vcpu->failed || !vcpu->sink(vcpu->sink_context, vcpu, vcpu->text, vcpu->text_size);
        vcpu->text_size = 0;
    }
    assert(size <= VCPU_TEXT_BYTES);
    memcpy(vcpu->text + vcpu->text_size, text, size);
    vcpu->text_size += size;
}

void vcpu_write_text(struct vcpu *vcpu, const char *text, size_t size)
{
    put(vcpu, text, size);
}

static void put_op(struct vcpu *vcpu, const struct replay_op *op)
{
    char text[STREAM_OP_TEXT_MAX + 1];
    struct replay_op whole = *op;
    if (whole.gap_cycles > LONGEST_NS) {
        whole.gap_cycles = LONGEST_NS;
        vcpu->gaps_cut++;
    }
    if (whole.recorded_ns > STREAM_GAP_MAX) {
        whole.recorded_ns = STREAM_GAP_MAX;
    }
    size_t size = stream_format_op(text, &whole, STREAM_NS);
    text[size] = '\n';
    put(vcpu, text, size + 1);
    vcpu->ops++;
}

// The vector stays in service until the eoi which exits: its handler returns without one.
static void put_handler(struct vcpu *vcpu, unsigned vector)
{
    char text[32];
    if (!vcpu->handler_written[vector]) {
        vcpu->handler_written[vector] = true;
        int size = snprintf(text, sizeof(text), "on %u:\niret\n", vector);
        put(vcpu, text, (size_t)size);
    }
}

// A device's signal, `after_ns` from here. It takes the place of the guest's gap, so that the gap is over
// when the exit that follows begins to count.
static void put_signal(struct vcpu *vcpu, struct exit_record *r, uint8_t vector, uint64_t after_ns)
{
    struct replay_op msi = {.kind = REPLAY_MSI, .gap_cycles = r->op.gap_cycles};
    msi.args[0] = vector < 16 ? DEFAULT_WAKE_VECTOR : vector;
    msi.args[1] = after_ns < LONGEST_NS ? after_ns : LONGEST_NS;
    put_op(vcpu, &msi);
    r->op.gap_cycles = 0;
}

static void finish_op(const struct vcpu *vcpu, struct exit_record *r)
{
    if (r->is_deadline) {
        r->op.flags |= REPLAY_ARG1_TSC_RELATIVE;
        uint64_t ns = deadline_ns(vcpu, r);
        r->op.args[1] = ns < LONGEST_NS ? ns : LONGEST_NS;
    }
    uint8_t length = stream_op_infos[r->op.kind].length;
    r->op.length = length != 0 && r->length != 0 ? r->length : length;
    if (r->op.kind == REPLAY_AWAIT) {
        r->op.gap_cycles = 0; // The guest is there when it happens.
    }
    if (r->handled_known) {
        r->op.flags |= REPLAY_HAS_RECORDED;
        r->op.recorded_ns = r->handled_ns;
    }
}

static void note_mmio_page(struct vcpu *vcpu, uint64_t gpa)
{
    for (unsigned i = 0; i < vcpu->mmio_page_count; i++) {
        if (vcpu->mmio_pages[i] == gpa >> 12) {
            return;
        }
    }
    if (vcpu->mmio_page_count < VCPU_MMIO_PAGES) {
        vcpu->mmio_pages[vcpu->mmio_page_count++] = gpa >> 12;
    }
}

void vcpu_write_oldest(struct vcpu *vcpu)
{
    struct exit_record *r = vcpu_record(vcpu, vcpu->first++);
    if (r->reason == EXIT_REASON_EPT_MISCONFIG) {
        note_mmio_page(vcpu, r->op.args[0]);
    }
    if (r->skipped) {
        vcpu->carried_gap_ns += r->op.gap_cycles;
        if (r->row != NULL) {
            r->row->skipped++;
        }
        return;
    }
    if (r->defaulted && r->row != NULL) {
        r->row->defaulted++;
    }
    if (r->reason == EXIT_REASON_EOI_INDUCED) {
        put_handler(vcpu, r->eoi_vector);
    }
    r->op.gap_cycles += vcpu->carried_gap_ns;
    vcpu->carried_gap_ns = 0;
    if (r->reason == EXIT_REASON_HLT && r->by_device) {
        uint64_t after = r->wake_ns > r->time_ns ? r->wake_ns - r->time_ns : 0;
        put_signal(vcpu, r, r->wake_vector, later_of(after, ORDER_SLACK_NS));
    } else if (r->signal_before) {
        put_signal(vcpu, r, r->signal_vector, 500);
    }
    finish_op(vcpu, r);
    put_op(vcpu, &r->op);
}
