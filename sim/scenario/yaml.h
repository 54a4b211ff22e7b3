// SPDX-License-Identifier: Apache-2.0
// YAML files by libcyaml against a schema, with errors that a person can act on.
//
// libcyaml checks structure and reports what it met; the lines of every field come from a pass of libyaml, so
// that checks of values made after loading can name their line too.
#ifndef SIM_SCENARIO_YAML_H
#define SIM_SCENARIO_YAML_H

#include "sim/scenario/user_error.h"
#include <cyaml/cyaml.h>
#include <stdbool.h>
#include <stddef.h>

struct yaml_field {
    char *path; // "vms[0].vcpus[1].stream"
    unsigned line;
    unsigned depth;    // 1 for keys of the top mapping.
    char *value;       // As written; NULL where it is a list or a mapping.
    size_t begin, end; // Characters of the text between which the value stands.
};
// A file in memory and the place of each of its fields, in the order of the file.
struct yaml_file {
    char *path;
    unsigned char *text;
    size_t text_bytes;
    struct yaml_field *fields;
    size_t field_count;
};

#define YAML_BYTES_MAX (16u << 20)

// Reads the file and finds its fields. 0, or -1 with `e` filled: cannot be read, empty, too large, not text,
// not YAML, doubled keys.
int yaml_open(struct yaml_file *y, const char *path, struct user_error *e);
// The same for a file whose text is in memory already; `path` is what messages call it.
int yaml_open_text(struct yaml_file *y, const char *path, const void *text, size_t bytes,
                   struct user_error *e);
// The field called `path`, or NULL.
const struct yaml_field *yaml_find(const struct yaml_file *y, const char *path);
// Writes `value` into the text in place of the one that `field` has; places are found anew. 0, or -1 with
// `e`.
int yaml_replace(struct yaml_file *y, const struct yaml_field *field, const char *value,
                 struct user_error *e);
void yaml_close(struct yaml_file *y);
// Loads it into a structure that the caller frees with cyaml_free(yaml_config(), ...).
int yaml_load(const struct yaml_file *y, const cyaml_schema_value_t *schema, void **out,
              struct user_error *e);
const cyaml_config_t *yaml_config(void);
// Line of a field, or of its nearest parent that is there.
unsigned yaml_line(const struct yaml_file *y, const char *path);
// The keys of the mapping at `path` ("" for the top): fills at most `max` pointers into the file's fields.
size_t yaml_keys(const struct yaml_file *y, const char *path, const char **keys, size_t max);

#endif
