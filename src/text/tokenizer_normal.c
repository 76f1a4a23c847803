/* tokenizer_normal.c: the normalizer of tokenizer.json: NFC, NFKC, Prepend, Replace, Strip,
 * Precompiled, and a Sequence of these. */
#include "text/tokenizer_stages.h"

#include "base/mem.h"
#include "format/json.h"
#include "text/base64.h"

#include <string.h>

enum { STEP_TEXT_MAX = 4096 };

/* NULL: there are too many. */
static NormalStep *add_step(const StagePlace *p, NormalKind kind)
{
    Normalizer *n = &p->t->normalizer;
    if (n->count == NORMAL_STEPS_MAX) {
        fail(p->err, ERR_LIMIT, "%s: %s: more than %d parts", p->name, p->where, NORMAL_STEPS_MAX);
        return NULL;
    }
    n->steps[n->count] = (NormalStep){.kind = kind};
    return &n->steps[n->count++];
}

/* A member that is a text of low to STEP_TEXT_MAX bytes, copied. */
static bool copy_text(const StagePlace *p, const json_t *text, const char *what, size_t low,
                      char **out, size_t *size)
{
    *size = json_string_length(text);
    if (!json_is_string(text) || *size < low || *size > STEP_TEXT_MAX)
        return fail(p->err, ERR_FORMAT, "%s: %s: %s must be a text of %zu to %d bytes", p->name,
                    p->where, what, low, STEP_TEXT_MAX);
    *out = mem_copy_text(json_string_value(text), *size);
    return *out || fail(p->err, ERR_MEMORY, "no memory for a normalizer");
}

static bool read_nfc(const StagePlace *p, const json_t *value)
{
    (void)value;
    return add_step(p, NORMAL_NFC) != NULL;
}

static bool read_nfkc(const StagePlace *p, const json_t *value)
{
    (void)value;
    return add_step(p, NORMAL_NFKC) != NULL;
}

static bool read_prepend(const StagePlace *p, const json_t *value)
{
    NormalStep *step = add_step(p, NORMAL_PREPEND);
    return step &&
           copy_text(p, json_object_get(value, "prepend"), "prepend", 1, &step->to, &step->to_size);
}

static bool read_replace(const StagePlace *p, const json_t *value)
{
    NormalStep *step = add_step(p, NORMAL_REPLACE);
    const json_t *regex, *literal;
    if (!step || !stage_pattern(p, value, &regex, &literal) ||
        !copy_text(p, json_object_get(value, "content"), "content", 0, &step->to, &step->to_size))
        return false;
    if (literal)
        return copy_text(p, literal, "pattern", 1, &step->from, &step->from_size);
    return split_pattern_new(&step->pattern, json_string_value(regex), json_string_length(regex),
                             p->err) ||
           fail_within(p->err, "%s: %s", p->name, p->where);
}

static bool read_strip(const StagePlace *p, const json_t *value)
{
    NormalStep *step = add_step(p, NORMAL_STRIP);
    return step &&
           json_get_bool(value, "strip_left", true, &step->left, p->name, p->err) &&
           json_get_bool(value, "strip_right", true, &step->right, p->name, p->err);
}

static bool read_precompiled(const StagePlace *p, const json_t *value)
{
    NormalStep *step = add_step(p, NORMAL_CHARSMAP);
    const json_t *map = json_object_get(value, "precompiled_charsmap");
    size_t size = json_string_length(map);
    if (!step)
        return false;
    auto_free uint8_t *blob = mem_alloc(size / 4 + 1, 3);
    if (!blob)
        return fail(p->err, ERR_MEMORY, "no memory for a normalizer");
    if (!json_is_string(map) || !base64_read(json_string_value(map), size, blob, &size))
        return fail(p->err, ERR_FORMAT, "%s: %s: precompiled_charsmap is no base64", p->name,
                    p->where);
    return charsmap_read(&step->charsmap, blob, size, p->err) ||
           fail_within(p->err, "%s: %s", p->name, p->where);
}

bool normalizer_read(const StagePlace *p, const json_t *value, bool nested)
{
    static const struct {
        const char *type;
        bool (*read)(const StagePlace *p, const json_t *value);
        const char *keys[4];
    } kinds[] = {
        {"NFC", read_nfc, {"type"}},
        {"NFKC", read_nfkc, {"type"}},
        {"Prepend", read_prepend, {"type", "prepend"}},
        {"Replace", read_replace, {"type", "pattern", "content"}},
        {"Strip", read_strip, {"type", "strip_left", "strip_right"}},
        {"Precompiled", read_precompiled, {"type", "precompiled_charsmap"}},
    };
    static const char *const keys[] = {"type", "normalizers", NULL};
    const char *type;
    if (!value || json_is_null(value))
        return true;
    if (!stage_type(p, value, &type))
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(type, kinds[i].type))
            return stage_keys(p, value, kinds[i].keys) && kinds[i].read(p, value);
    if (nested || strcmp(type, "Sequence"))
        return stage_unsupported(p, type);
    if (!stage_keys(p, value, keys))
        return false;
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(value, "normalizers"), i, part)
        if (!normalizer_read(p, part, true))
            return false;
    return true;
}
