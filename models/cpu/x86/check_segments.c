// SPDX-License-Identifier: Apache-2.0
// VM-entry checks on guest segment registers (SDM 26.3.1.2). Each rule covers all registers that the manual
// lists.
#include "models/cpu/x86/check_guest.h"

#define seg(e, s) ((e)->segs[s])

void entry_segments_read(struct entry_view *e)
{
    for (uint32_t i = 0; i < ENTRY_SEGS; i++)
        e->segs[i] = (struct entry_seg_view){
            (uint32_t)field(e, GUEST_ES_SELECTOR + 2 * i), (uint32_t)field(e, GUEST_ES_LIMIT + 2 * i),
            (uint32_t)field(e, GUEST_ES_AR_BYTES + 2 * i), field(e, GUEST_ES_BASE + 2 * i)};
}

static bool usable(const struct entry_seg_view *s)
{
    return !(s->ar & AR_UNUSABLE);
}

static uint32_t type_of(uint32_t ar)
{
    return ar & AR_TYPE_MASK;
}

static uint32_t dpl_of(uint32_t ar)
{
    return (ar & AR_DPL_MASK) >> AR_DPL_SHIFT;
}

// Calls for the registers of a set that matter: CS always, the others if usable.
static bool each(const struct entry_view *e, unsigned set,
                 bool (*holds)(const struct entry_view *, enum entry_seg, const struct entry_seg_view *))
{
    for (unsigned s = 0; s < ENTRY_SEGS; s++) {
        struct entry_seg_view view = seg(e, (enum entry_seg)s);

        if (!((set >> s) & 1) || (s != CS && s != TR && !usable(&view)))
            continue;
        if (!holds(e, (enum entry_seg)s, &view))
            return false;
    }
    return true;
}

#define CODE_DATA 0x3fu // ES to GS
#define DATA_ONLY ((1u << DS) | (1u << ES) | (1u << FS) | (1u << GS))

RULE(tr_ti, !(seg(e, TR).selector & X86_SEL_TI))

static bool ldtr_ti(const struct entry_view *e)
{
    struct entry_seg_view s = seg(e, LDTR);

    return !usable(&s) || !(s.selector & X86_SEL_TI);
}

RULE(ss_rpl,
     e->v86 || e->unrestricted || ((seg(e, SS).selector ^ seg(e, CS).selector) & X86_SEL_RPL_MASK) == 0)

static bool v86_all(const struct entry_view *e, bool (*holds)(const struct entry_seg_view *))
{
    for (unsigned s = ES; e->v86 && s <= GS; s++) {
        struct entry_seg_view view = seg(e, (enum entry_seg)s);

        if (!holds(&view))
            return false;
    }
    return true;
}

static bool v86_base_ok(const struct entry_seg_view *s)
{
    return s->base == (uint64_t)s->selector << 4;
}
static bool v86_limit_ok(const struct entry_seg_view *s)
{
    return s->limit == 0xffff;
}
static bool v86_ar_ok(const struct entry_seg_view *s)
{
    return s->ar == 0xf3;
}
RULE(v86_base, v86_all(e, v86_base_ok))
RULE(v86_limit, v86_all(e, v86_limit_ok))
RULE(v86_ar, v86_all(e, v86_ar_ok))

RULE(tr_base, guest_canonical(e, GUEST_TR_BASE))
RULE(fs_base, guest_canonical(e, GUEST_FS_BASE))
RULE(gs_base, guest_canonical(e, GUEST_GS_BASE))
RULE(ldtr_base, (seg(e, LDTR).ar & AR_UNUSABLE) || guest_canonical(e, GUEST_LDTR_BASE))

static bool base_high(const struct entry_view *e, enum entry_seg s, const struct entry_seg_view *view)
{
    (void)e, (void)s;
    return view->base >> 32 == 0;
}
RULE(low_bases, each(e, (1u << CS) | (1u << SS) | (1u << DS) | (1u << ES), base_high))

// --- Access rights outside of virtual-8086 mode. ---

static bool cs_type(const struct entry_view *e)
{
    uint32_t type = type_of(seg(e, CS).ar);

    return e->v86 || type == 9 || type == 11 || type == 13 || type == 15 || (type == 3 && e->unrestricted);
}

static bool ss_type(const struct entry_view *e)
{
    struct entry_seg_view s = seg(e, SS);

    return e->v86 || !usable(&s) || type_of(s.ar) == 3 || type_of(s.ar) == 7;
}

static bool data_type_ok(const struct entry_view *e, enum entry_seg s, const struct entry_seg_view *view)
{
    uint32_t type = type_of(view->ar);

    (void)e, (void)s;
    return (type & X86_SEG_ACCESSED) && (!(type & X86_SEG_CODE) || (type & X86_SEG_READABLE));
}
RULE(data_type, e->v86 || each(e, DATA_ONLY, data_type_ok))

static bool s_ok(const struct entry_view *e, enum entry_seg s, const struct entry_seg_view *view)
{
    (void)e, (void)s;
    return view->ar & AR_S;
}
RULE(s_flag, e->v86 || each(e, CODE_DATA, s_ok))

static bool cs_dpl(const struct entry_view *e)
{
    uint32_t cs = seg(e, CS).ar, dpl = dpl_of(cs), ss_dpl = dpl_of(seg(e, SS).ar);

    if (e->v86)
        return true;
    switch (type_of(cs)) {
    case 3:
        return dpl == 0;
    case 9:
    case 11:
        return dpl == ss_dpl;
    default:
        return dpl <= ss_dpl;
    }
}

static bool ss_dpl(const struct entry_view *e)
{
    struct entry_seg_view s = seg(e, SS);
    bool zero = type_of(seg(e, CS).ar) == 3 || !(e->cr0 & X86_CR0_PE);

    if (e->v86)
        return true;
    if (!e->unrestricted && dpl_of(s.ar) != (s.selector & X86_SEL_RPL_MASK))
        return false;
    return !zero || dpl_of(s.ar) == 0;
}

static bool data_dpl_ok(const struct entry_view *e, enum entry_seg s, const struct entry_seg_view *view)
{
    (void)e, (void)s;
    return type_of(view->ar) > 11 || dpl_of(view->ar) >= (view->selector & X86_SEL_RPL_MASK);
}
RULE(data_dpl, e->v86 || e->unrestricted || each(e, DATA_ONLY, data_dpl_ok))

static bool p_ok(const struct entry_view *e, enum entry_seg s, const struct entry_seg_view *view)
{
    (void)e, (void)s;
    return view->ar & AR_P;
}
RULE(present, e->v86 || each(e, CODE_DATA, p_ok))

static bool reserved_ok(const struct entry_view *e, enum entry_seg s, const struct entry_seg_view *view)
{
    (void)e, (void)s;
    return (view->ar & AR_RESERVED) == 0;
}
RULE(reserved, e->v86 || each(e, CODE_DATA, reserved_ok))

static bool cs_db(const struct entry_view *e)
{
    uint32_t ar = seg(e, CS).ar;

    return e->v86 || !e->ia32e || !(ar & AR_L) || !(ar & AR_DB);
}

static bool granularity_ok(const struct entry_view *e, enum entry_seg s, const struct entry_seg_view *view)
{
    (void)e, (void)s;
    if ((view->limit & 0xfff) != 0xfff && (view->ar & AR_G))
        return false;
    return view->limit >> 20 == 0 || (view->ar & AR_G);
}
RULE(granularity, e->v86 || each(e, CODE_DATA, granularity_ok))

// --- TR and LDTR. ---

static bool tr_type(const struct entry_view *e)
{
    uint32_t type = type_of(seg(e, TR).ar);

    return type == X86_SYS_TSS_BUSY || (!e->ia32e && type == X86_SYS_TSS16_BUSY);
}

static bool system_ok(const struct entry_view *e, enum entry_seg s, const struct entry_seg_view *view)
{
    return !(view->ar & AR_S) && (view->ar & AR_P) && (view->ar & AR_RESERVED) == 0 &&
           granularity_ok(e, s, view);
}
RULE(tr_rights, !(seg(e, TR).ar & AR_UNUSABLE) && each(e, 1u << TR, system_ok))

static bool ldtr_type_ok(const struct entry_view *e, enum entry_seg s, const struct entry_seg_view *view)
{
    (void)e, (void)s;
    return type_of(view->ar) == X86_SYS_LDT;
}
RULE(ldtr_type, each(e, 1u << LDTR, ldtr_type_ok))
RULE(ldtr_rights, each(e, 1u << LDTR, system_ok))

const struct entry_rule guest_segment_rules[] = {
    // clang-format off
    {"TR selector: TI",                        "26.3.1.2", tr_ti, 0},
    {"LDTR selector: TI",                      "26.3.1.2", ldtr_ti, 0},
    {"SS and CS selectors: RPL",               "26.3.1.2", ss_rpl, 0},
    {"virtual-8086: bases",                    "26.3.1.2", v86_base, 0},
    {"TR base is canonical",                   "26.3.1.2", tr_base, 0},
    {"FS base is canonical",                   "26.3.1.2", fs_base, 0},
    {"GS base is canonical",                   "26.3.1.2", gs_base, 0},
    {"LDTR base is canonical",                 "26.3.1.2", ldtr_base, 0},
    {"CS, SS, DS, ES bases bits 63:32",        "26.3.1.2", low_bases, 0},
    {"virtual-8086: limits",                   "26.3.1.2", v86_limit, 0},
    {"virtual-8086: access rights",            "26.3.1.2", v86_ar, 0},
    {"CS type",                                "26.3.1.2", cs_type, 0},
    {"SS type",                                "26.3.1.2", ss_type, 0},
    {"DS, ES, FS, GS type",                    "26.3.1.2", data_type, 0},
    {"S flag",                                 "26.3.1.2", s_flag, 0},
    {"CS DPL",                                 "26.3.1.2", cs_dpl, 0},
    {"SS DPL",                                 "26.3.1.2", ss_dpl, 0},
    {"DS, ES, FS, GS DPL",                     "26.3.1.2", data_dpl, 0},
    {"P flag",                                 "26.3.1.2", present, 0},
    {"access rights reserved bits",            "26.3.1.2", reserved, 0},
    {"CS D/B in 64-bit mode",                  "26.3.1.2", cs_db, 0},
    {"G flag fits the limit",                  "26.3.1.2", granularity, 0},
    {"TR type",                                "26.3.1.2", tr_type, 0},
    {"TR access rights",                       "26.3.1.2", tr_rights, 0},
    {"LDTR type",                              "26.3.1.2", ldtr_type, 0},
    {"LDTR access rights",                     "26.3.1.2", ldtr_rights, 0},
    {NULL, NULL, NULL, 0},
    // clang-format on
};
