/* recipe_bind.c: see recipe.h. From the tree to a struct by a table, and back to text.
 *
 * Everything that depends on a type is one row of `types`: reading and printing. Binding walks the
 * tree, so that an unknown key is met where it stands. */
#include "format/recipe.h"

#include "format/json.h"
#include "format/suggest.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest dotted path: every level a longest key. */
enum { PATH_MAX_BYTES = RECIPE_DEPTH_MAX * (RECIPE_KEY_BYTES_MAX + 1) };

/* What a reader of a value is told. */
typedef struct {
    Recipe *recipe;
    const RecipeNode *node;
    const RecipeField *field;
    Error *err;
} Value;

static bool bind_map(Recipe *recipe, const RecipeNode *map, const char *prefix,
                     const RecipeTable *table, void *out, Error *err);
static bool bind_table(Recipe *recipe, const RecipeNode *map, const RecipeTable *table, void *out,
                       Error *err);

/* "'train.rate' must be WHAT, is 'fast'" */
static bool fail_value(const Value *v, const char *what)
{
    static const char *const kinds[] = {
        [RECIPE_NODE_LIST] = "a list", [RECIPE_NODE_MAP] = "a section"};
    if (v->node->kind != RECIPE_NODE_SCALAR)
        return recipe_fail(v->recipe, v->node, v->err, "'%s' must be %s, is %s", v->field->key,
                           what, kinds[v->node->kind]);
    if (!v->node->quoted && !v->node->text[0])
        return recipe_fail(v->recipe, v->node, v->err, "'%s' has no value: it must be %s",
                           v->field->key, what);
    char shown[41];
    snprintf(shown, sizeof shown, "%s", v->node->text);
    for (char *c = shown; *c; c++)
        *c = (unsigned char)*c < ' ' || *c == 127 ? '?' : *c;
    return recipe_fail(v->recipe, v->node, v->err, "'%s' must be %s, is '%s'", v->field->key, what,
                       shown);
}

/* ---- reading, one function per type ---- */

/* The plain scalar of the node, or NULL. */
static const char *plain_text(const RecipeNode *node)
{
    return node->kind == RECIPE_NODE_SCALAR && !node->quoted && node->text[0] ? node->text : NULL;
}

static bool read_whole(const Value *v, uint64_t most, uint64_t *out)
{
    const char *text = plain_text(v->node);
    bool digits = text && strlen(text) < 21 && text[strspn(text, "0123456789")] == 0;
    errno = 0;
    uint64_t number = digits ? strtoull(text, NULL, 10) : 0;
    bool fits = digits && errno == 0 && number <= most && (double)number >= v->field->low &&
                (double)number <= v->field->high;
    if (!fits) {
        char what[80];
        snprintf(what, sizeof what, "a whole number from %.17g to %.17g", v->field->low,
                 v->field->high);
        return fail_value(v, what);
    }
    *out = number;
    return true;
}

static bool read_u32(const Value *v, void *out)
{
    uint64_t number = 0;
    if (!read_whole(v, UINT32_MAX, &number))
        return false;
    *(uint32_t *)out = (uint32_t)number;
    return true;
}

static bool read_u64(const Value *v, void *out)
{
    return read_whole(v, UINT64_MAX, out);
}

static bool read_f64(const Value *v, void *out)
{
    const char *text = plain_text(v->node);
    char *end = NULL;
    /* the letters of hexadecimal, "inf" and "nan" are not in the set */
    bool decimal = text && text[strspn(text, "0123456789+-.eE")] == 0;
    double number = decimal ? strtod(text, &end) : 0;
    if (!decimal || *end || end == text || !(number >= v->field->low && number <= v->field->high)) {
        char what[80];
        snprintf(what, sizeof what, "a number from %g to %g", v->field->low, v->field->high);
        return fail_value(v, what);
    }
    *(double *)out = number;
    return true;
}

static bool read_bool(const Value *v, void *out)
{
    const char *text = plain_text(v->node);
    bool yes = text && strcmp(text, "true") == 0;
    if (!yes && !(text && strcmp(text, "false") == 0))
        return fail_value(v, "true or false");
    *(bool *)out = yes;
    return true;
}

/* `count` against low and high of the field, where high 0 means any. */
static bool within_count(const Value *v, size_t count, const char *unit)
{
    double low = v->field->low, high = v->field->high;
    if ((double)count >= low && (high == 0 || (double)count <= high))
        return true;
    char what[80];
    if (high == 0)
        snprintf(what, sizeof what, "at least %g %s", low, unit);
    else
        snprintf(what, sizeof what, "%g to %g %s", low, high, unit);
    return recipe_fail(v->recipe, v->node, v->err, "'%s' must have %s, has %zu", v->field->key,
                       what, count);
}

static bool read_text(const Value *v, void *out)
{
    const RecipeNode *node = v->node;
    if (node->kind != RECIPE_NODE_SCALAR || (!node->quoted && !node->text[0]))
        return fail_value(v, "a text");
    if (!within_count(v, strlen(node->text), "bytes"))
        return false;
    *(const char **)out = node->text;
    return true;
}

static size_t count_texts(const char *const *texts)
{
    size_t count = 0;
    while (texts[count])
        count++;
    return count;
}

static bool read_choice(const Value *v, void *out)
{
    const char *const *choices = v->field->choices;
    const char *text = v->node->kind == RECIPE_NODE_SCALAR ? v->node->text : NULL;
    for (uint32_t i = 0; text && choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) {
            *(uint32_t *)out = i;
            return true;
        }
    }
    char what[200] = "one of";
    for (size_t i = 0, used = strlen(what); choices[i] && used < sizeof what; i++)
        used += (size_t)snprintf(what + used, sizeof what - used, "%s %s", i ? "," : "",
                                 choices[i]);
    const char *near = text ? suggest_nearest(text, choices, count_texts(choices)) : NULL;
    fail_value(v, what);
    size_t used = v->err ? strlen(v->err->text) : 0;
    if (near && used)
        snprintf(v->err->text + used, sizeof v->err->text - used, " (did you mean '%s'?)", near);
    return false;
}

static bool read_texts(const Value *v, void *out)
{
    if (v->node->kind != RECIPE_NODE_LIST)
        return fail_value(v, "a list of texts");
    if (!within_count(v, v->node->count, "entries"))
        return false;
    const char **items = arena_alloc(&v->recipe->arena, v->node->count, sizeof *items);
    if (!items)
        return fail(v->err, ERR_MEMORY, "%s: no memory for its lists", v->recipe->name);
    RecipeField each = {.key = v->field->key};
    uint32_t i = 0;
    for (const RecipeNode *item = v->node->first; item; item = item->next, i++) {
        Value value = {v->recipe, item, &each, v->err};
        if (!read_text(&value, &items[i]))
            return false;
    }
    *(RecipeTexts *)out = (RecipeTexts){items, v->node->count};
    return true;
}

static bool read_rows(const Value *v, void *out)
{
    const RecipeTable *table = v->field->rows;
    if (v->node->kind != RECIPE_NODE_LIST)
        return fail_value(v, "a list of sections");
    if (!within_count(v, v->node->count, "entries"))
        return false;
    char *items = arena_alloc(&v->recipe->arena, v->node->count, table->bytes);
    if (!items)
        return fail(v->err, ERR_MEMORY, "%s: no memory for its lists", v->recipe->name);
    size_t i = 0;
    for (const RecipeNode *item = v->node->first; item; item = item->next, i++) {
        if (item->kind != RECIPE_NODE_MAP)
            return recipe_fail(v->recipe, item, v->err,
                               "an entry of '%s' must be a section like '- %s: ...'",
                               v->field->key, table->fields[0].key);
        if (!bind_table(v->recipe, item, table, items + i * table->bytes, v->err))
            return false;
    }
    *(RecipeRows *)out = (RecipeRows){items, v->node->count};
    return true;
}

/* ---- printing, one function per type ---- */

static void print_u32(Buf *out, const void *at)
{
    buf_format(out, "%" PRIu32, *(const uint32_t *)at);
}

static void print_u64(Buf *out, const void *at)
{
    buf_format(out, "%" PRIu64, *(const uint64_t *)at);
}

static void print_f64(Buf *out, const void *at)
{
    auto_json json_t *value = json_real(*(const double *)at);
    Error ignored; /* the buffer itself remembers a failure */
    if (!value || !json_dump(value, out, &ignored))
        out->failed = true; /* also: not a number, or infinite */
}

static void print_bool(Buf *out, const void *at)
{
    buf_add_text(out, *(const bool *)at ? "true" : "false");
}

/* The code point at p when it is one that YAML refuses or folds inside quotes, so that it must be
 * escaped, and the bytes it takes; else 0. `p` is UTF-8 and ends in a NUL. */
static unsigned escaped_point(const unsigned char *p, size_t *length)
{
    *length = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : 3;
    if (p[0] < ' ' || p[0] == 127 || p[0] == '"' || p[0] == '\\')
        return p[0];
    if (p[0] == 0xc2 && p[1] < 0xa0) /* C1 controls, and the line break U+0085 */
        return p[1];
    unsigned point = p[0] < 0xe0 || p[0] > 0xef
                         ? 0
                         : (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
    bool line_break = point == 0x2028 || point == 0x2029;
    return line_break || point == 0xfeff || point >= 0xfffe ? point : 0;
}

static void print_text(Buf *out, const void *at)
{
    const char *text = *(const char *const *)at;
    buf_add_char(out, '"');
    for (const char *p = text ? text : ""; *p;) {
        size_t length;
        unsigned point = escaped_point((const unsigned char *)p, &length);
        if (point == '"' || point == '\\')
            buf_format(out, "\\%c", (int)point);
        else if (point)
            buf_format(out, "\\u%04x", point);
        else
            buf_add(out, p, length = 1); /* the rest of a longer character follows by itself */
        p += length;
    }
    buf_add_char(out, '"');
}

static void print_texts(Buf *out, const void *at)
{
    const RecipeTexts *texts = at;
    for (uint32_t i = 0; i < texts->count; i++) {
        buf_add_text(out, i ? ", " : "[");
        print_text(out, &texts->items[i]);
    }
    buf_add_text(out, texts->count ? "]" : "[]");
}

typedef struct {
    const char *name; /* in the documentation */
    bool (*read)(const Value *v, void *out);
    void (*print)(Buf *out, const void *at); /* NULL: needs the field (choice), or lines (rows) */
} TypeRow;

static const TypeRow types[RECIPE_TYPE_COUNT] = {
    [RECIPE_U32] = {"whole number", read_u32, print_u32},
    [RECIPE_U64] = {"whole number", read_u64, print_u64},
    [RECIPE_F64] = {"number", read_f64, print_f64},
    [RECIPE_BOOL] = {"true or false", read_bool, print_bool},
    [RECIPE_TEXT] = {"text", read_text, print_text},
    [RECIPE_CHOICE] = {"one of", read_choice, NULL},
    [RECIPE_TEXTS] = {"list of texts", read_texts, print_texts},
    [RECIPE_ROWS] = {"list of sections", read_rows, NULL},
};

/* ---- binding ---- */

static const RecipeField *find_field(const RecipeTable *table, const char *path)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->fields[i].key, path) == 0)
            return &table->fields[i];
    }
    return NULL;
}

/* Whether `key` lies in the section at `prefix` ("" or "train."); then *rest is what follows. */
static bool in_section(const char *key, const char *prefix, const char **rest)
{
    size_t length = strlen(prefix);
    *rest = key + length;
    return strncmp(key, prefix, length) == 0;
}

/* Suggests the same word in another section, else the nearest word of this one. */
static bool fail_unknown(Recipe *recipe, const RecipeNode *node, const char *prefix,
                         const RecipeTable *table, Error *err)
{
    enum { NAMES_MAX = 256 };
    const char *names[NAMES_MAX] = {NULL}, *rest, *elsewhere = NULL;
    char words[NAMES_MAX][RECIPE_KEY_BYTES_MAX + 1];
    for (size_t i = 0; i < table->count && i < NAMES_MAX; i++) {
        const char *key = table->fields[i].key, *dot = strrchr(key, '.');
        if (strcmp(dot ? dot + 1 : key, node->key) == 0)
            elsewhere = key;
        if (!in_section(key, prefix, &rest))
            continue;
        snprintf(words[i], sizeof words[i], "%.*s", (int)strcspn(rest, "."), rest);
        names[i] = words[i];
    }
    const char *near = suggest_nearest(node->key, names, NAMES_MAX);
    char where[PATH_MAX_BYTES + 8] = "", hint[RECIPE_KEY_BYTES_MAX * 2 + 24] = "";
    if (prefix[0])
        snprintf(where, sizeof where, " in '%.*s'", (int)strlen(prefix) - 1, prefix);
    if (near || elsewhere)
        snprintf(hint, sizeof hint, " (did you mean '%s'?)", elsewhere ? elsewhere : near);
    return recipe_fail(recipe, node, err, "unknown key '%s'%s%s", node->key, where, hint);
}

static bool bind_child(Recipe *recipe, const RecipeNode *child, const char *prefix,
                       const RecipeTable *table, char *out, Error *err)
{
    char path[PATH_MAX_BYTES + 2];
    int length = snprintf(path, sizeof path - 1, "%s%s", prefix, child->key);
    assert(length > 0 && length < (int)sizeof path - 1);
    const RecipeField *field = find_field(table, path);
    if (field) {
        Value value = {recipe, child, field, err};
        return types[field->type].read(&value, out + field->offset);
    }
    memcpy(path + length, ".", 2);
    const char *rest = "";
    size_t i = 0;
    while (i < table->count && !in_section(table->fields[i].key, path, &rest))
        i++;
    if (i == table->count)
        return fail_unknown(recipe, child, prefix, table, err);
    if (child->kind != RECIPE_NODE_MAP)
        return recipe_fail(recipe, child, err, "'%.*s' must be a section with keys such as '%s'",
                           length, path, rest);
    return bind_map(recipe, child, path, table, out, err);
}

/* prefix: "" or the path of this map with a dot at its end. Depth is that of the tree. */
static bool bind_map(Recipe *recipe, const RecipeNode *map, const char *prefix,
                     const RecipeTable *table, void *out, Error *err)
{
    for (const RecipeNode *child = map->first; child; child = child->next) {
        if (!bind_child(recipe, child, prefix, table, out, err))
            return false;
    }
    return true;
}

static void fill_defaults(const RecipeTable *table, void *out)
{
    if (table->defaults)
        memcpy(out, table->defaults, table->bytes);
    else
        memset(out, 0, table->bytes);
}

static bool bind_table(Recipe *recipe, const RecipeNode *map, const RecipeTable *table, void *out,
                       Error *err)
{
    fill_defaults(table, out);
    if (!bind_map(recipe, map, "", table, out, err))
        return false;
    for (size_t i = 0; i < table->count; i++) {
        const RecipeField *field = &table->fields[i];
        if (field->required && !recipe_find(map, field->key))
            return recipe_fail(recipe, map, err, "'%s' is missing: %s", field->key,
                               field->meaning ? field->meaning : types[field->type].name);
    }
    return true;
}

bool recipe_bind(Recipe *recipe, const RecipeTable *table, void *out, Error *err)
{
    void *bound = arena_alloc(&recipe->arena, 1, table->bytes);
    if (!bound)
        return fail(err, ERR_MEMORY, "%s: no memory to bind it", recipe->name);
    if (!bind_table(recipe, recipe->root, table, bound, err))
        return false;
    memcpy(out, bound, table->bytes);
    return true;
}

bool recipe_set(const RecipeTable *table, void *out, const char *key, const char *value, Error *err)
{
    const RecipeField *field = find_field(table, key);
    if (!field) {
        enum { NAMES_MAX = 256 };
        const char *names[NAMES_MAX] = {NULL};
        for (size_t i = 0; i < table->count && i < NAMES_MAX; i++)
            names[i] = table->fields[i].key;
        const char *near = suggest_nearest(key, names, NAMES_MAX);
        return fail(err, ERR_INPUT, near ? "unknown key '%.80s' (did you mean '%s'?)"
                                         : "unknown key '%.80s'", key, near);
    }
    Recipe given = {.name = "option"};
    RecipeNode node = {.kind = RECIPE_NODE_SCALAR, .line = 1, .text = value};
    Value one = {&given, &node, field, err};
    return types[field->type].read(&one, (char *)out + field->offset);
}

/* ---- printing ---- */

static bool is_absent(const RecipeField *field, const void *at)
{
    if (field->type == RECIPE_TEXT)
        return *(const char *const *)at == NULL;
    if (field->type == RECIPE_TEXTS)
        return ((const RecipeTexts *)at)->count == 0;
    return field->type == RECIPE_ROWS && ((const RecipeRows *)at)->count == 0;
}

/* Opens the sections of `key` that `last`, the key printed before, was not in; gives the level. */
static int open_sections(Buf *out, const char *last, const char *key, int indent)
{
    int level = 0;
    bool shared = true;
    for (const char *dot = strchr(key, '.'); dot; dot = strchr(dot + 1, '.'), level++) {
        size_t length = (size_t)(dot - key) + 1;
        shared = shared && strncmp(last, key, length) == 0;
        const char *word = dot;
        while (word > key && word[-1] != '.')
            word--;
        if (!shared)
            buf_format(out, "%*s%.*s:\n", indent + 2 * level, "", (int)(dot - word), word);
    }
    return level;
}

/* The struct as lines indented by `indent`. */
static void print_struct(const RecipeTable *table, const char *bound, int indent, Buf *out)
{
    const char *last = "";
    for (size_t i = 0; i < table->count && !out->failed; i++) {
        const RecipeField *field = &table->fields[i];
        const char *at = bound + field->offset, *dot = strrchr(field->key, '.');
        if (is_absent(field, at))
            continue;
        int column = indent + 2 * open_sections(out, last, field->key, indent);
        last = field->key;
        buf_format(out, "%*s%s:", column, "", dot ? dot + 1 : field->key);
        if (field->type == RECIPE_ROWS) {
            const RecipeRows *rows = (const RecipeRows *)at;
            buf_add_char(out, '\n');
            for (uint32_t row = 0; row < rows->count && !out->failed; row++) {
                buf_format(out, "%*s-\n", column + 2, "");
                print_struct(field->rows, (const char *)rows->items + row * field->rows->bytes,
                             column + 4, out);
            }
            continue;
        }
        buf_add_char(out, ' ');
        if (field->type == RECIPE_CHOICE)
            buf_add_text(out, field->choices[*(const uint32_t *)at]);
        else
            types[field->type].print(out, at);
        buf_add_char(out, '\n');
    }
}

bool recipe_print(const RecipeTable *table, const void *bound, Buf *out, Error *err)
{
    print_struct(table, bound, 0, out);
    return buf_ok(out, "recipe to print", err);
}

/* ---- documentation ---- */

static void describe_type(const RecipeField *field, Buf *out)
{
    buf_add_text(out, types[field->type].name);
    if (field->type == RECIPE_CHOICE) {
        for (size_t i = 0; field->choices[i]; i++)
            buf_format(out, "%s `%s`", i ? "," : "", field->choices[i]);
    } else if (field->type <= RECIPE_F64) {
        buf_format(out, ", %.9g to %.9g", field->low, field->high);
    }
}

static void describe_default(const RecipeTable *table, const RecipeField *field, Buf *out)
{
    const char *at = (const char *)table->defaults + field->offset;
    if (field->required)
        buf_add_text(out, "required");
    else if (table->defaults && field->type == RECIPE_CHOICE)
        buf_format(out, "`%s`", field->choices[*(const uint32_t *)at]);
    else if (table->defaults && types[field->type].print && !is_absent(field, at)) {
        buf_add_char(out, '`');
        types[field->type].print(out, at);
        buf_add_char(out, '`');
    }
}

static void describe_rows(const RecipeTable *table, const char *prefix, Buf *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const RecipeField *field = &table->fields[i];
        buf_format(out, "| `%s%s` | ", prefix, field->key);
        describe_type(field, out);
        buf_add_text(out, " | ");
        describe_default(table, field, out);
        buf_format(out, " | %s |\n", field->meaning ? field->meaning : "");
        if (field->type == RECIPE_ROWS) {
            char inner[PATH_MAX_BYTES];
            snprintf(inner, sizeof inner, "%s%s[].", prefix, field->key);
            describe_rows(field->rows, inner, out);
        }
    }
}

bool recipe_describe(const RecipeTable *table, Buf *out, Error *err)
{
    buf_add_text(out, "| key | type | default | meaning |\n|---|---|---|---|\n");
    describe_rows(table, "", out);
    return buf_ok(out, "description of a recipe", err);
}
