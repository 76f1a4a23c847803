/* recipe.h: recipes: a strict part of YAML, bound to a struct by a table.
 *
 * A recipe is maps, lists and scalars in UTF-8. Refused, with the line: anchors, aliases, tags,
 * merge keys, directives, more than one document, duplicate keys, keys that are not plain words.
 * One table (RecipeTable) says everything about the keys: it binds, checks, prints back and
 * documents them. Section keys are dotted, "train.rate", and rows of one section stand together.
 *
 *     typedef struct { double rate; uint32_t steps; const char *base; } Job;
 *     static const Job job_defaults = {.rate = 1e-4, .steps = 100};
 *     static const RecipeField job_fields[] = {
 *         {"base", RECIPE_TEXT, offsetof(Job, base), .required = true, .meaning = "to start"},
 *         {"train.rate", RECIPE_F64, offsetof(Job, rate), 1e-9, 1, .meaning = "peak step size"},
 *         {"train.steps", RECIPE_U32, offsetof(Job, steps), 1, 1e6, .meaning = "optimiser steps"}};
 *     static const RecipeTable job_table = RECIPE_TABLE(job_fields, Job, &job_defaults);
 *
 * Errors: ERR_FORMAT for what is not this YAML; ERR_INPUT for unknown keys and wrong values, as in
 * "recipe.yaml:12: unknown key 'rtae' in 'train' (did you mean 'rate'?)"; ERR_LIMIT; ERR_MEMORY.
 * Threads: a recipe belongs to one thread.
 */
#pragma once
#include "base/mem.h"
#include "base/buf.h"

enum {
    RECIPE_BYTES_MAX = 256 << 10,
    RECIPE_DEPTH_MAX = 8,
    RECIPE_NODES_MAX = 1 << 14,
    RECIPE_KEYS_MAX = 512, /* of one map */
    RECIPE_KEY_BYTES_MAX = 64,
};

/* ---- the tree ---- */

typedef enum { RECIPE_NODE_SCALAR, RECIPE_NODE_LIST, RECIPE_NODE_MAP } RecipeKind;

typedef struct RecipeNode RecipeNode;
struct RecipeNode {
    RecipeKind kind;
    bool quoted;      /* a scalar in quotes is text whatever it looks like */
    uint32_t line;    /* of its key, else of its start; from 1 */
    uint32_t count;   /* children */
    const char *key;  /* its name in the map it stands in, else NULL */
    const char *text; /* of a scalar; never holds a NUL */
    RecipeNode *first, *last, *next; /* children in order; the next sibling */
};

typedef struct {
    Arena arena; /* owns the tree and what binding builds */
    RecipeNode *root;
    char name[256]; /* of the file, for messages */
} Recipe;

bool recipe_parse(Recipe *out, const char *text, size_t size, const char *name,
                  Error *err) MUST_CHECK;
bool recipe_read(Recipe *out, const char *path, Error *err) MUST_CHECK;
void recipe_done(Recipe *recipe); /* zeroed or after a failure: a no-op */

/* The node at a dotted path below `node`, or NULL. */
const RecipeNode *recipe_find(const RecipeNode *node, const char *path);

/* Fails with "name:line: ..." for a check of the caller's own. */
bool recipe_fail(const Recipe *recipe, const RecipeNode *node, Error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));

/* ---- the table ---- */

typedef enum {
    RECIPE_U32,    /* uint32_t, low to high */
    RECIPE_U64,    /* uint64_t, low to high (compared as double) */
    RECIPE_F64,    /* double, low to high */
    RECIPE_BOOL,   /* bool: true or false, no other word */
    RECIPE_TEXT,   /* const char *, NULL when absent; low to high bytes when high is not 0 */
    RECIPE_CHOICE, /* uint32_t or enum: index into choices */
    RECIPE_TEXTS,  /* RecipeTexts: a list of texts; low to high of them when high is not 0 */
    RECIPE_ROWS,   /* RecipeRows: a list of maps, each bound by `rows`; count as above */
    RECIPE_TYPE_COUNT
} RecipeType;

typedef struct {
    const char *const *items;
    uint32_t count;
} RecipeTexts;

typedef struct {
    void *items; /* count structs of rows->bytes each */
    uint32_t count;
} RecipeRows;

typedef struct RecipeTable RecipeTable;
typedef struct {
    const char *key; /* dotted */
    RecipeType type;
    size_t offset; /* in the struct */
    double low, high;
    const char *const *choices; /* NULL-terminated */
    const RecipeTable *rows;
    bool required;
    const char *meaning; /* one line for the documentation */
} RecipeField;

struct RecipeTable {
    const RecipeField *fields;
    size_t count, bytes;  /* rows; size of the struct */
    const void *defaults; /* a struct; NULL: zeroes */
};
#define RECIPE_TABLE(fields, type, defaults)                                                       \
    {fields, sizeof(fields) / sizeof *(fields), sizeof(type), defaults}

/* Fills the struct: defaults, then what the recipe says. Texts and lists live as long as the
 * recipe. On failure the struct is untouched. */
bool recipe_bind(Recipe *recipe, const RecipeTable *table, void *out, Error *err) MUST_CHECK;

/* One scalar key from elsewhere (a command line), checked alike; value outlives the struct. */
bool recipe_set(const RecipeTable *table, void *out, const char *key, const char *value,
                Error *err) MUST_CHECK;

/* Appends the struct as canonical YAML: every key in the order of the table, texts quoted, absent
 * texts and empty lists left out. Binding that text gives the same struct. */
bool recipe_print(const RecipeTable *table, const void *bound, Buf *out, Error *err) MUST_CHECK;

/* Appends the table as Markdown: | key | type | default | meaning |. */
bool recipe_describe(const RecipeTable *table, Buf *out, Error *err) MUST_CHECK;
