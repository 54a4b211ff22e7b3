// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/yaml.h"
#include "sim/scenario/input.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 32, PATH_BYTES = 512 };

// --- Reading. ---

// Grows with what is read, so that pipes work too and a small file costs little.
static bool read_all(struct yaml_file *y, FILE *f)
{
    size_t capacity = 0, got;

    do {
        if (y->text_bytes == capacity) {
            capacity = capacity ? 2 * capacity : 16384;
            unsigned char *grown = realloc(y->text, capacity);

            if (!grown)
                return false;
            y->text = grown;
        }
        got = fread(y->text + y->text_bytes, 1, capacity - y->text_bytes, f);
        y->text_bytes += got;
    } while (got && y->text_bytes <= YAML_BYTES_MAX);
    return !ferror(f);
}

static int read_text(struct yaml_file *y, struct user_error *e)
{
    const char *why;
    int fd = input_open(y->path, &why);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "rb");

    if (!f)
        return user_error_at(e, y->path, 0, NULL,
                             "%s; name a scenario file (*.yaml), `hvsim list` finds them",
                             fd < 0 ? why : strerror(errno));
    bool good = read_all(y, f);

    fclose(f);
    return good ? 0 : user_error_at(e, y->path, 0, NULL, "cannot be read");
}

static int check_text(const struct yaml_file *y, struct user_error *e)
{
    if (y->text_bytes > YAML_BYTES_MAX)
        return user_error_at(e, y->path, 0, NULL, "is larger than %u MiB, which no scenario is",
                             YAML_BYTES_MAX >> 20);
    if (y->text_bytes && memchr(y->text, 0, y->text_bytes))
        return user_error_at(e, y->path, 0, NULL,
                             "is not text (it has zero bytes); expected a YAML scenario");
    return 0;
}

// --- Places of fields. ---

struct placer {
    struct yaml_file *y;
    struct user_error *e;
    yaml_document_t document;
    unsigned depth;
};

static int add_field(struct placer *p, const char *path, size_t line, const yaml_node_t *value)
{
    struct yaml_file *y = p->y;

    if ((y->field_count & (y->field_count + 1)) == 0) {
        struct yaml_field *grown = realloc(y->fields, (y->field_count * 2 + 2) * sizeof *grown);

        if (!grown)
            return user_error_at(p->e, y->path, 0, NULL, "out of memory");
        y->fields = grown;
    }
    char *copy = strdup(path);

    if (!copy)
        return user_error_at(p->e, y->path, 0, NULL, "out of memory");
    struct yaml_field *field = &y->fields[y->field_count++];

    *field = (struct yaml_field){.path = copy, .line = (unsigned)line + 1, .depth = p->depth};
    if (!value || value->type != YAML_SCALAR_NODE)
        return 0;
    field->value = strdup((const char *)value->data.scalar.value);
    field->begin = value->start_mark.index;
    field->end = value->end_mark.index;
    return field->value ? 0 : user_error_at(p->e, y->path, 0, NULL, "out of memory");
}

static int place_node(struct placer *p, int id, const char *path);

static int place_mapping(struct placer *p, const yaml_node_t *node, const char *path)
{
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top;
         pair++) {
        const yaml_node_t *key = yaml_document_get_node(&p->document, pair->key);
        char child[PATH_BYTES];

        if (!key || key->type != YAML_SCALAR_NODE)
            return user_error_at(p->e, p->y->path, (unsigned)node->start_mark.line + 1, path,
                                 "a key must be a word");
        snprintf(child, sizeof child, "%s%s%.100s", path, *path ? "." : "",
                 (const char *)key->data.scalar.value);
        if (add_field(p, child, key->start_mark.line, yaml_document_get_node(&p->document, pair->value)) ||
            place_node(p, pair->value, child))
            return -1;
    }
    return 0;
}

static int place_node(struct placer *p, int id, const char *path)
{
    const yaml_node_t *node = yaml_document_get_node(&p->document, id);
    int result = 0, index = 0;

    if (!node)
        return 0;
    if (++p->depth > DEPTH_MAX)
        return user_error_at(p->e, p->y->path, (unsigned)node->start_mark.line + 1, NULL,
                             "is nested too deep");
    if (node->type == YAML_MAPPING_NODE)
        result = place_mapping(p, node, path);
    if (node->type == YAML_SEQUENCE_NODE) {
        for (yaml_node_item_t *i = node->data.sequence.items.start;
             !result && i < node->data.sequence.items.top; i++) {
            const yaml_node_t *item = yaml_document_get_node(&p->document, *i);
            char child[PATH_BYTES];

            snprintf(child, sizeof child, "%s[%d]", path, index++);
            result = add_field(p, child, item ? item->start_mark.line : node->start_mark.line, item);
            if (!result)
                result = place_node(p, *i, child);
        }
    }
    p->depth--;
    return result;
}

// An alias may name its own parent or multiply a file's size; scenarios need none.
static int refuse_aliases(const struct yaml_file *y, struct user_error *e)
{
    yaml_parser_t parser;
    yaml_event_t event;
    bool done = false;
    int result = 0;

    if (!yaml_parser_initialize(&parser))
        return user_error_at(e, y->path, 0, NULL, "out of memory");
    yaml_parser_set_input_string(&parser, y->text, y->text_bytes);
    while (!done && yaml_parser_parse(&parser, &event)) {
        done = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_ALIAS_EVENT) {
            result = user_error_at(e, y->path, (unsigned)event.start_mark.line + 1, NULL,
                                   "an alias (*name) is not allowed in a scenario; write the value out");
            done = true;
        }
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return result;
}

static int place_fields(struct yaml_file *y, struct user_error *e)
{
    struct placer p = {.y = y, .e = e};
    yaml_parser_t parser;
    int result = -1;

    if (refuse_aliases(y, e))
        return -1;
    if (!yaml_parser_initialize(&parser))
        return user_error_at(e, y->path, 0, NULL, "out of memory");
    yaml_parser_set_input_string(&parser, y->text, y->text_bytes);
    if (!yaml_parser_load(&parser, &p.document)) {
        user_error_at(e, y->path, (unsigned)parser.problem_mark.line + 1, NULL, "is not YAML: %s",
                      parser.problem ? parser.problem : "unreadable");
    } else {
        const yaml_node_t *root = yaml_document_get_root_node(&p.document);

        if (!root)
            user_error_at(e, y->path, 0, NULL,
                          "is empty; expected a scenario (see docs/scenario-reference.md)");
        else if (root->type != YAML_MAPPING_NODE)
            user_error_at(e, y->path, 1, NULL, "expected a scenario, which begins with `scenario: NAME`");
        else
            result = place_node(&p, 1, "");
        yaml_document_delete(&p.document);
    }
    yaml_parser_delete(&parser);
    return result;
}

static int understand(struct yaml_file *y, struct user_error *e)
{
    if (check_text(y, e) || place_fields(y, e)) {
        yaml_close(y);
        return -1;
    }
    return 0;
}

static int begin(struct yaml_file *y, const char *path, struct user_error *e)
{
    *y = (struct yaml_file){.path = strdup(path)};
    return y->path ? 0 : user_error_at(e, path, 0, NULL, "out of memory");
}

int yaml_open(struct yaml_file *y, const char *path, struct user_error *e)
{
    if (begin(y, path, e))
        return -1;
    if (read_text(y, e)) {
        yaml_close(y);
        return -1;
    }
    return understand(y, e);
}

int yaml_open_text(struct yaml_file *y, const char *path, const void *text, size_t bytes,
                   struct user_error *e)
{
    if (begin(y, path, e))
        return -1;
    y->text = malloc(bytes + 1);
    if (!y->text) {
        yaml_close(y);
        return user_error_at(e, path, 0, NULL, "out of memory");
    }
    memcpy(y->text, text, bytes);
    y->text_bytes = bytes;
    return understand(y, e);
}

static void forget_fields(struct yaml_file *y)
{
    for (size_t i = 0; i < y->field_count; i++) {
        free(y->fields[i].path);
        free(y->fields[i].value);
    }
    free(y->fields);
    y->fields = NULL;
    y->field_count = 0;
}

const struct yaml_field *yaml_find(const struct yaml_file *y, const char *path)
{
    for (size_t i = 0; i < y->field_count; i++)
        if (strcmp(y->fields[i].path, path) == 0)
            return &y->fields[i];
    return NULL;
}

// Where a character of the text begins: libyaml counts characters.
static size_t byte_of(const struct yaml_file *y, size_t character)
{
    size_t at = 0;

    while (at < y->text_bytes && (character > 0 || (y->text[at] & 0xc0) == 0x80))
        character -= (y->text[at++] & 0xc0) != 0x80;
    return at;
}

// The value as a YAML string in double quotes, which may stand wherever a value may.
static size_t quote(char *to, const char *value)
{
    char *p = to;

    *p++ = '"';
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            *p++ = '\\';
        *p++ = *value;
    }
    *p++ = '"';
    return (size_t)(p - to);
}

int yaml_replace(struct yaml_file *y, const struct yaml_field *field, const char *value, struct user_error *e)
{
    size_t begin = byte_of(y, field->begin), end = byte_of(y, field->end), rest = y->text_bytes - end;
    unsigned char *text = malloc(begin + 2 * strlen(value) + 2 + rest + 1);

    if (!text)
        return user_error_at(e, y->path, 0, NULL, "out of memory");
    memcpy(text, y->text, begin);
    size_t quoted = quote((char *)text + begin, value);

    memcpy(text + begin + quoted, y->text + end, rest);
    free(y->text);
    y->text = text;
    y->text_bytes = begin + quoted + rest;
    forget_fields(y);
    return place_fields(y, e);
}

void yaml_close(struct yaml_file *y)
{
    forget_fields(y);
    free(y->text);
    free(y->path);
    *y = (struct yaml_file){0};
}

unsigned yaml_line(const struct yaml_file *y, const char *path)
{
    char wanted[PATH_BYTES];

    snprintf(wanted, sizeof wanted, "%s", path);
    while (*wanted) {
        for (size_t i = 0; i < y->field_count; i++)
            if (strcmp(y->fields[i].path, wanted) == 0)
                return y->fields[i].line;
        char *dot = strrchr(wanted, '.'), *bracket = strrchr(wanted, '[');
        char *cut = dot > bracket ? dot : bracket;

        if (!cut)
            break;
        *cut = 0;
    }
    return 1;
}

size_t yaml_keys(const struct yaml_file *y, const char *path, const char **keys, size_t max)
{
    size_t count = 0, prefix = strlen(path);

    for (size_t i = 0; i < y->field_count && count < max; i++) {
        const char *p = y->fields[i].path;

        if (prefix && (strncmp(p, path, prefix) != 0 || p[prefix] != '.'))
            continue;
        p += prefix ? prefix + 1 : 0;
        if (!strpbrk(p, ".["))
            keys[count++] = p;
    }
    return count;
}

// --- Loading. ---

// What libcyaml logged: the message, and the backtrace as a path with the innermost line.
struct heard {
    char message[200];
    char path[PATH_BYTES];
    unsigned line;
};

static void hear(cyaml_log_t level, void *ctx, const char *format, va_list args)
{
    struct heard *h = ctx;
    char text[300], name[120];
    unsigned number;

    (void)level;
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = 0;
    const char *line = strstr(text, "(line: ");

    if (line && !h->line)
        h->line = (unsigned)strtoul(line + 7, NULL, 10);
    char rest[PATH_BYTES];

    snprintf(rest, sizeof rest, "%s", h->path);
    if (sscanf(text, " in mapping field '%100[^']'", name) == 1)
        snprintf(h->path, sizeof h->path, "%.100s%s%.380s", name, *rest && *rest != '[' ? "." : "", rest);
    else if (sscanf(text, " in sequence entry '%u'", &number) == 1)
        snprintf(h->path, sizeof h->path, "[%u]%s%.380s", number - 1, *rest && *rest != '[' ? "." : "", rest);
    else if (!h->message[0] && strncmp(text, "Load: ", 6) == 0 && strcmp(text, "Load: Backtrace:") != 0)
        snprintf(h->message, sizeof h->message, "%.190s", text + 6);
}

const cyaml_config_t *yaml_config(void)
{
    static const cyaml_config_t config = {.mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};

    return &config;
}

// The schema of the mapping at `path`, or NULL.
static const cyaml_schema_field_t *fields_at(const cyaml_schema_value_t *schema, const char *path)
{
    while (schema && *path) {
        if (*path == '[') {
            path = strchr(path, ']');
            path = path ? path + 1 : "";
            schema = schema->type == CYAML_SEQUENCE ? schema->sequence.entry : NULL;
            continue;
        }
        path += *path == '.';
        size_t length = strcspn(path, ".[");

        if (schema->type != CYAML_MAPPING)
            return NULL;
        const cyaml_schema_field_t *f = schema->mapping.fields;

        while (f->key && (strncmp(f->key, path, length) != 0 || f->key[length]))
            f++;
        schema = f->key ? &f->value : NULL;
        path += length;
    }
    return schema && schema->type == CYAML_MAPPING ? schema->mapping.fields : NULL;
}

static int explain_unknown_key(const struct yaml_file *y, const cyaml_schema_value_t *schema,
                               const struct heard *h, const char *key, struct user_error *e)
{
    const cyaml_schema_field_t *f = fields_at(schema, h->path);
    const char *words[256];
    size_t count = 0;
    char path[PATH_BYTES + 128];

    for (; f && f->key && count < 256; f++)
        words[count++] = f->key;
    const char *near = nearest_word(key, words, count);

    snprintf(path, sizeof path, "%s%s%s", h->path, *h->path ? "." : "", key);
    // Any other name would have been made known by the file itself.
    if (strcmp(h->path, "variants") == 0)
        return user_error_at(e, y->path, yaml_line(y, path), path,
                             "the name of a variant has neither `.` nor `[`; write a-b for a.b");
    if (near)
        return user_error_at(e, y->path, yaml_line(y, path), path, "unknown key; did you mean `%s`?", near);
    char all[300] = "";

    for (size_t i = 0; i < count && strlen(all) < 250; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", words[i]);
    return user_error_at(e, y->path, yaml_line(y, path), path, "unknown key; known here: %s", all);
}

static const char *plain_kind(const char *cyaml_kind)
{
    static const struct {
        const char *theirs, *ours;
    } kinds[] = {
        {"STRING", "a value"},          {"SEQUENCE_START", "a list"},          {"SEQUENCE", "a list"},
        {"MAPPING_START", "a mapping"}, {"MAPPING", "a mapping (key: value)"}, {"SCALAR", "a value"},
        {"ALIAS", "an alias"}};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].theirs, cyaml_kind) == 0)
            return kinds[i].ours;
    return cyaml_kind;
}

static int explain(const struct yaml_file *y, const cyaml_schema_value_t *schema, const struct heard *h,
                   cyaml_err_t status, struct user_error *e)
{
    char word[120], got[60];

    if (sscanf(h->message, "Unexpected key: %100s", word) == 1)
        return explain_unknown_key(y, schema, h, word, e);
    if (sscanf(h->message, "Missing required mapping field: %100s", word) == 1) {
        // libcyaml names the last field it saw; the one that is missing belongs to its parent.
        return user_error_at(e, y->path, h->line, word, "is missing; every scenario needs it here");
    }
    if (sscanf(h->message, "Mapping field already seen: %100s", word) == 1)
        return user_error_at(e, y->path, h->line, h->path, "is given twice; keep one");
    if (sscanf(h->message, "Expecting %60[^,], got event: %50s", word, got) == 2)
        return user_error_at(e, y->path, h->line, h->path, "expected %s, got %s", plain_kind(word),
                             plain_kind(got));
    return user_error_at(e, y->path, h->line, *h->path ? h->path : NULL, "%s",
                         *h->message ? h->message : cyaml_strerror(status));
}

int yaml_load(const struct yaml_file *y, const cyaml_schema_value_t *schema, void **out, struct user_error *e)
{
    struct heard heard = {0};
    cyaml_config_t config = *yaml_config();

    config.log_fn = hear;
    config.log_ctx = &heard;
    config.log_level = CYAML_LOG_ERROR;
    *out = NULL;
    cyaml_err_t status = cyaml_load_data(y->text, y->text_bytes, &config, schema, out, NULL);

    if (status == CYAML_OK && *out)
        return 0;
    return explain(y, schema, &heard, status, e);
}
