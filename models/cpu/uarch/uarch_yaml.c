// SPDX-License-Identifier: Apache-2.0
//
// The YAML side of the loader: the libcyaml schema, made from uarch_params.def, and messages with the right
// line.

#include "models/cpu/uarch/uarch_internal.h"

#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define TEXT_MAX 4096
#define REQUIRED CYAML_FLAG_POINTER
#define OPTIONAL (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)

static const cyaml_schema_field_t param_fields[] = {
    CYAML_FIELD_STRING_PTR("value", REQUIRED, struct raw_param, value, 1, TEXT_MAX),
    CYAML_FIELD_STRING_PTR("source", OPTIONAL, struct raw_param, source, 1, TEXT_MAX),
    CYAML_FIELD_END,
};

#define GROUP(g, about)                                                                                      \
    static const cyaml_schema_field_t g##_fields[] = {                                                       \
        CYAML_FIELD_STRING_PTR("source", OPTIONAL, struct raw_##g, source, 1, TEXT_MAX),
#define P(g, name, unit, min, max, about)                                                                    \
    CYAML_FIELD_MAPPING(#name, CYAML_FLAG_DEFAULT, struct raw_##g, name, param_fields),
#define END(g)                                                                                               \
    CYAML_FIELD_END                                                                                          \
    }                                                                                                        \
    ;
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END

static const cyaml_schema_field_t class_fields[] = {
    CYAML_FIELD_STRING_PTR("name", REQUIRED, struct raw_class, name, 1, 64),
    CYAML_FIELD_STRING_PTR("uops", REQUIRED, struct raw_class, uops, 1, 256),
    CYAML_FIELD_STRING_PTR("fused", REQUIRED, struct raw_class, fused, 1, 32),
    CYAML_FIELD_STRING_PTR("latency", REQUIRED, struct raw_class, latency, 1, 32),
    CYAML_FIELD_STRING_PTR("busy", OPTIONAL, struct raw_class, busy, 1, 32),
    CYAML_FIELD_STRING_PTR("source", OPTIONAL, struct raw_class, source, 1, TEXT_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t class_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_class, class_fields)};
static const cyaml_schema_field_t classes_fields[] = {
    CYAML_FIELD_STRING_PTR("source", OPTIONAL, struct raw_classes, source, 1, TEXT_MAX),
    CYAML_FIELD_SEQUENCE("rows", REQUIRED, struct raw_classes, rows, &class_value, 1, 1000),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t cpuid_row_fields[] = {
    CYAML_FIELD_STRING_PTR("leaf", REQUIRED, struct raw_cpuid_row, leaf, 1, 32),
    CYAML_FIELD_STRING_PTR("subleaf", OPTIONAL, struct raw_cpuid_row, subleaf, 1, 32),
    CYAML_FIELD_STRING_PTR("eax", REQUIRED, struct raw_cpuid_row, eax, 1, 32),
    CYAML_FIELD_STRING_PTR("ebx", REQUIRED, struct raw_cpuid_row, ebx, 1, 32),
    CYAML_FIELD_STRING_PTR("ecx", REQUIRED, struct raw_cpuid_row, ecx, 1, 32),
    CYAML_FIELD_STRING_PTR("edx", REQUIRED, struct raw_cpuid_row, edx, 1, 32),
    CYAML_FIELD_STRING_PTR("source", OPTIONAL, struct raw_cpuid_row, source, 1, TEXT_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t cpuid_row_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_cpuid_row, cpuid_row_fields)};
static const cyaml_schema_field_t cpuid_fields[] = {
    CYAML_FIELD_STRING_PTR("source", OPTIONAL, struct raw_cpuid, source, 1, TEXT_MAX),
    CYAML_FIELD_SEQUENCE("rows", REQUIRED, struct raw_cpuid, rows, &cpuid_row_value, 1, 1000),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t calibration_fields[] = {
    CYAML_FIELD_STRING_PTR("parameter", REQUIRED, struct raw_calibration, parameter, 1, 128),
    CYAML_FIELD_STRING_PTR("row", REQUIRED, struct raw_calibration, row, 1, TEXT_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t calibration_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_calibration, calibration_fields)};

static const cyaml_schema_field_t top_fields[] = {
    CYAML_FIELD_STRING_PTR("name", REQUIRED, struct raw_uarch, name, 1, 64),
    CYAML_FIELD_STRING_PTR("about", REQUIRED, struct raw_uarch, about, 1, TEXT_MAX),
#define GROUP(g, about) CYAML_FIELD_MAPPING(#g, CYAML_FLAG_DEFAULT, struct raw_uarch, g, g##_fields),
#define P(g, name, unit, min, max, about)
#define END(g)
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END
    CYAML_FIELD_MAPPING("classes", CYAML_FLAG_DEFAULT, struct raw_uarch, classes, classes_fields),
    CYAML_FIELD_MAPPING("cpuid", CYAML_FLAG_DEFAULT, struct raw_uarch, cpuid, cpuid_fields),
    CYAML_FIELD_SEQUENCE("calibrated_from", CYAML_FLAG_POINTER, struct raw_uarch, calibrated_from,
                         &calibration_value, 0, 1000),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t top_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_uarch, top_fields)};

// -------------------------------------------------------------------------------------------------------------------
// What libcyaml said: the first line of its log, and the path which its backtrace spells from the inside out.

#define DEPTH_MAX 8
struct cyaml_story {
    char message[320];
    char step[DEPTH_MAX][80]; // innermost first; "" for a step without a name
    unsigned depth;
    unsigned line; // of the innermost step
};

static void story_add(struct cyaml_story *s, const char *text)
{
    unsigned line = 0;
    unsigned long entry = 0;
    char name[80] = "";
    const char *at = strstr(text, "(line: ");
    if (at == NULL || strncmp(text, "  in ", 5) != 0) {
        if (s->message[0] == '\0' && strncmp(text, "Backtrace", 9) != 0)
            snprintf(s->message, sizeof s->message, "%s", text);
        return;
    }
    if (sscanf(text, "  in mapping field '%79[^']'", name) != 1) {
        if (sscanf(text, "  in sequence entry '%lu'", &entry) == 1)
            snprintf(name, sizeof name, "[%lu]", entry);
    }
    if (s->depth == 0 && sscanf(at, "(line: %u", &line) == 1)
        s->line = line;
    if (s->depth < DEPTH_MAX)
        memcpy(s->step[s->depth++], name, sizeof name);
}

static void story_log(cyaml_log_t level, void *ctx, const char *format, va_list args)
{
    char text[320];
    (void)level;
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    const char *start = text;
    if (strncmp(start, "Load: ", 6) == 0)
        start += 6;
    story_add(ctx, start);
}

// Joins the steps from the outside in, leaving out the innermost `skip`, then `last` (may be NULL), to a
// field path.
static void story_path(const struct cyaml_story *s, unsigned skip, const char *last, char *path, size_t size)
{
    path[0] = '\0';
    for (unsigned i = s->depth; i-- > skip;) {
        size_t used = strlen(path);
        const char *dot = used > 0 && s->step[i][0] != '[' && s->step[i][0] != '\0' ? "." : "";
        snprintf(path + used, size - used, "%s%s", dot, s->step[i]);
    }
    size_t used = strlen(path);
    if (last != NULL)
        snprintf(path + used, size - used, "%s%s", used > 0 ? "." : "", last);
}

static const char *const known_keys[] = {
    "name", "about", "source", "value",   "classes", "cpuid",     "calibrated_from",
    "rows", "uops",  "fused",  "latency", "busy",    "leaf",      "subleaf",
    "eax",  "ebx",   "ecx",    "edx",     "row",     "parameter",
#define GROUP(g, about) #g,
#define P(g, name, unit, min, max, about) #name,
#define END(g)
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END
};

static size_t edit_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t m = strlen(b);
    if (m >= 63)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = change < gap ? change : gap;
        }
    }
    return row[m];
}

static const char *nearest_key(const char *key)
{
    const char *best = known_keys[0];
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++) {
        size_t distance = edit_distance(key, known_keys[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = known_keys[i];
        }
    }
    return best;
}

static void story_report(const struct cyaml_story *s, const struct uarch_report *to)
{
    char key[64];
    char field[256];
    unsigned line = s->line;
    if (sscanf(s->message, "Unexpected key: %63s", key) == 1) {
        // The innermost step is the mapping itself, named after the key read before this one or not at all.
        story_path(s, 1, key, field, sizeof field);
        line = raw_line(to->path, field);
        snprintf(to->text, to->size, "%s:%u: %s: unknown key; the nearest known key is \"%s\"", to->path,
                 line, field, nearest_key(key));
    } else if (sscanf(s->message, "Missing required mapping field: %63s", key) == 1) {
        story_path(s, 1, key, field, sizeof field);
        line = raw_line(to->path, field);
        snprintf(to->text, to->size, "%s:%u: %s: missing; expected this key here", to->path, line, field);
    } else {
        story_path(s, 0, NULL, field, sizeof field);
        snprintf(to->text, to->size, "%s:%u: %s: %s", to->path, line, field[0] != '\0' ? field : "file",
                 s->message);
    }
}

struct raw_uarch *raw_load(const char *path, char *error, size_t error_size)
{
    struct cyaml_story story = {0};
    struct uarch_report to = {path, error, error_size};
    struct raw_uarch *raw = NULL;
    cyaml_config_t config = {
        .log_fn = story_log, .log_ctx = &story, .log_level = CYAML_LOG_ERROR, .mem_fn = cyaml_mem};
    cyaml_err_t status = cyaml_load_file(path, &config, &top_value, (cyaml_data_t **)&raw, NULL);
    if (status == CYAML_OK && raw != NULL)
        return raw;
    if (status == CYAML_OK)
        snprintf(story.message, sizeof story.message, "is empty; expected a micro-architecture file");
    if (story.message[0] == '\0')
        snprintf(story.message, sizeof story.message, "%s; expected a micro-architecture file",
                 cyaml_strerror(status));
    story_report(&story, &to);
    return NULL;
}

void raw_free(struct raw_uarch *raw)
{
    cyaml_config_t config = {.log_level = CYAML_LOG_ERROR, .mem_fn = cyaml_mem};
    cyaml_free(&config, &top_value, raw, 0);
}

// -------------------------------------------------------------------------------------------------------------------
// Lines, from libyaml's own document tree (libcyaml gives none for a value that it could load).

static yaml_node_t *mapping_get(yaml_document_t *doc, yaml_node_t *node, const char *key, size_t length,
                                unsigned *line)
{
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        yaml_node_t *k = yaml_document_get_node(doc, p->key);
        if (k->type == YAML_SCALAR_NODE && k->data.scalar.length == length &&
            memcmp(k->data.scalar.value, key, length) == 0) {
            *line = (unsigned)k->start_mark.line + 1;
            return yaml_document_get_node(doc, p->value);
        }
    }
    return NULL;
}

static yaml_node_t *sequence_get(yaml_document_t *doc, yaml_node_t *node, unsigned long index, unsigned *line)
{
    yaml_node_item_t *item = node->data.sequence.items.start + index;
    if (item >= node->data.sequence.items.top)
        return NULL;
    yaml_node_t *value = yaml_document_get_node(doc, *item);
    *line = (unsigned)value->start_mark.line + 1;
    return value;
}

static unsigned document_line(yaml_document_t *doc, const char *field)
{
    unsigned line = 1;
    yaml_node_t *node = yaml_document_get_root_node(doc);
    while (node != NULL && *field != '\0') {
        size_t length = strcspn(field, ".[");
        if (*field == '[') {
            char *end = NULL;
            unsigned long index = strtoul(field + 1, &end, 10);
            node = node->type == YAML_SEQUENCE_NODE ? sequence_get(doc, node, index, &line) : NULL;
            field = *end == ']' ? end + 1 : end;
        } else if (length > 0) {
            node = node->type == YAML_MAPPING_NODE ? mapping_get(doc, node, field, length, &line) : NULL;
            field += length;
        }
        if (*field == '.')
            field++;
    }
    return line;
}

unsigned raw_line(const char *path, const char *field)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    unsigned line = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 0;
    if (yaml_parser_initialize(&parser)) {
        yaml_parser_set_input_file(&parser, file);
        if (yaml_parser_load(&parser, &doc)) {
            line = document_line(&doc, field);
            yaml_document_delete(&doc);
        }
        yaml_parser_delete(&parser);
    }
    fclose(file);
    return line;
}

void uarch_report(const struct uarch_report *to, const char *field, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    snprintf(to->text, to->size, "%s:%u: %s: %s", to->path, raw_line(to->path, field), field, message);
}
