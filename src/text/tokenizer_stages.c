/* tokenizer_stages.c: see tokenizer_stages.h.
 *
 *   pre_tokenizer   of a byte-level model: ByteLevel, or a Sequence that ends with it; else null,
 *                   Metaspace or a Sequence; of Split, Digits, WhitespaceSplit
 *   post_processor  null, ByteLevel, TemplateProcessing, Sequence of these: known, not applied
 *   decoder         ByteLevel; else Metaspace, or Replace, ByteFallback, Fuse and Strip
 */
#include "text/tokenizer_stages.h"

#include "base/buf.h"
#include "format/json.h"
#include "text/tokenizer_formats.h"

#include <string.h>

bool stage_type(const StagePlace *p, const json_t *value, const char **type)
{
    *type = json_string_value(json_object_get(value, "type"));
    if (*type)
        return true;
    return fail(p->err, ERR_FORMAT, "%s: %s: missing, or without type", p->name, p->where);
}

bool stage_unsupported(const StagePlace *p, const char *type)
{
    return fail(p->err, ERR_FORMAT, "%s: %s: type '%.40s' is not supported here", p->name,
                p->where, type);
}

bool stage_keys(const StagePlace *p, const json_t *value, const char *const *keys)
{
    return json_only_keys(value, keys, p->name, p->err) || fail_within(p->err, "%s", p->where);
}

static bool add_stage(const StagePlace *p, SplitStage stage)
{
    Tokenizer *t = p->t;
    if (t->stage_count == STAGES_MAX) {
        split_pattern_free(stage.pattern);
        return fail(p->err, ERR_LIMIT, "%s: %s: more than %d parts", p->name, p->where, STAGES_MAX);
    }
    t->stages[t->stage_count++] = stage;
    return true;
}

static bool add_pattern(const StagePlace *p, const char *pattern, size_t size, SplitStage stage)
{
    bool gpt2 = stage.behavior == SPLIT_ISOLATED && size == strlen(pretoken_gpt2_pattern) &&
                !memcmp(pattern, pretoken_gpt2_pattern, size);
    stage.kind = gpt2 ? STAGE_GPT2 : STAGE_SPLIT;
    if (!gpt2 && !split_pattern_new(&stage.pattern, pattern, size, p->err))
        return fail_within(p->err, "%s: %s", p->name, p->where);
    return add_stage(p, stage);
}

bool tokenizer_stages_add(Tokenizer *t, const char *pattern, const char *name, Error *err)
{
    StagePlace place = {t, name, "pattern", err};
    return add_pattern(&place, pattern, strlen(pattern), (SplitStage){0}) &&
           tokenizer_export_split(t, pattern, err);
}

static bool read_byte_level(const StagePlace *p, const json_t *value)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                       NULL};
    bool prefix, regex, trim;
    if (!stage_keys(p, value, keys) ||
        !json_get_bool(value, "add_prefix_space", true, &prefix, p->name, p->err) ||
        !json_get_bool(value, "trim_offsets", true, &trim, p->name, p->err) ||
        !json_get_bool(value, "use_regex", true, &regex, p->name, p->err))
        return false;
    if (prefix && p->t->stage_count)
        return fail(p->err, ERR_FORMAT, "%s: %s: add_prefix_space after a Split is not supported",
                    p->name, p->where);
    p->t->add_prefix_space = prefix;
    return !regex || add_stage(p, (SplitStage){.kind = STAGE_GPT2});
}

bool stage_quote(const json_t *literal, Buf *quoted, Error *err)
{
    const char *text = json_string_value(literal);
    for (size_t i = 0; i < json_string_length(literal); i++) {
        if (text[i] > 0 && strchr("\\^$.|?*+()[]{}-&", text[i]))
            buf_add_char(quoted, '\\');
        buf_add_char(quoted, text[i]);
    }
    return buf_ok(quoted, "pattern", err);
}

bool stage_pattern(const StagePlace *p, const json_t *value, const json_t **regex,
                   const json_t **literal)
{
    const json_t *pattern = json_object_get(value, "pattern");
    *regex = json_object_get(pattern, "Regex");
    *literal = json_object_get(pattern, "String");
    if (json_object_size(pattern) == 1 && (json_is_string(*regex) || json_is_string(*literal)))
        return true;
    return fail(p->err, ERR_FORMAT, "%s: %s: pattern is neither Regex nor String", p->name,
                p->where);
}

static bool read_split(const StagePlace *p, const json_t *value)
{
    static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL};
    static const char *const behaviors[] = {
        [SPLIT_ISOLATED] = "Isolated",
        [SPLIT_REMOVED] = "Removed",
        [SPLIT_WITH_PREVIOUS] = "MergedWithPrevious",
        [SPLIT_WITH_NEXT] = "MergedWithNext",
        [SPLIT_CONTIGUOUS] = "Contiguous",
    };
    enum { BEHAVIORS = sizeof behaviors / sizeof *behaviors };
    const char *behavior;
    const json_t *regex, *literal;
    SplitStage stage = {0};
    if (!stage_keys(p, value, keys) ||
        !json_get_text(value, "behavior", "", &behavior, p->name, p->err) ||
        !json_get_bool(value, "invert", false, &stage.invert, p->name, p->err) ||
        !stage_pattern(p, value, &regex, &literal))
        return false;
    uint32_t which = 0;
    while (which < BEHAVIORS && strcmp(behavior, behaviors[which]))
        which++;
    if (which == BEHAVIORS)
        return fail(p->err, ERR_FORMAT, "%s: %s: behavior '%.40s' is not known", p->name, p->where,
                    behavior);
    stage.behavior = (SplitBehavior)which;
    if (regex)
        return add_pattern(p, json_string_value(regex), json_string_length(regex), stage);
    auto_buf Buf quoted;
    buf_init(&quoted, 2 * SPLIT_PATTERN_BYTES_MAX);
    return stage_quote(literal, &quoted, p->err) &&
           add_pattern(p, quoted.data ? quoted.data : "", quoted.size, stage);
}

static bool read_digits(const StagePlace *p, const json_t *value)
{
    static const char *const keys[] = {"type", "individual_digits", NULL};
    bool single;
    if (!stage_keys(p, value, keys) ||
        !json_get_bool(value, "individual_digits", false, &single, p->name, p->err))
        return false;
    const char *pattern = single ? "\\p{N}" : "\\p{N}+";
    return add_pattern(p, pattern, strlen(pattern), (SplitStage){0});
}

static bool read_whitespace_split(const StagePlace *p, const json_t *value)
{
    static const char *const keys[] = {"type", NULL};
    return stage_keys(p, value, keys) &&
           add_pattern(p, "\\s", 2, (SplitStage){.behavior = SPLIT_REMOVED});
}

/* Also of the decoder, which has the same keys. Older files say add_prefix_space. */
static bool metaspace_options(const StagePlace *p, const json_t *value, SplitStage *out)
{
    static const char *const keys[] = {"type", "replacement", "prepend_scheme", "split",
                                       "add_prefix_space", "str_rep", NULL};
    static const char *const schemes[] = {
        [PREPEND_ALWAYS] = "always", [PREPEND_FIRST] = "first", [PREPEND_NEVER] = "never"};
    const char *replacement, *scheme;
    bool prefix;
    *out = (SplitStage){.kind = STAGE_METASPACE};
    if (!stage_keys(p, value, keys) ||
        !json_get_text(value, "replacement", MARK, &replacement, p->name, p->err) ||
        !json_get_bool(value, "split", true, &out->split, p->name, p->err) ||
        !json_get_bool(value, "add_prefix_space", true, &prefix, p->name, p->err) ||
        !json_get_text(value, "prepend_scheme", prefix ? "always" : "never", &scheme, p->name,
                       p->err))
        return false;
    if (strcmp(replacement, MARK))
        return fail(p->err, ERR_FORMAT, "%s: %s: replacement '%.20s' is not supported, U+2581 is",
                    p->name, p->where, replacement);
    for (uint32_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        out->prepend = (PrependScheme)i;
        if (!strcmp(scheme, schemes[i]))
            return true;
    }
    return fail(p->err, ERR_FORMAT, "%s: %s: prepend_scheme '%.20s' is not known", p->name,
                p->where, scheme);
}

static bool read_metaspace(const StagePlace *p, const json_t *value)
{
    SplitStage stage;
    if (!metaspace_options(p, value, &stage))
        return false;
    for (uint32_t i = 0; i < p->t->stage_count; i++)
        if (p->t->stages[i].kind == STAGE_METASPACE)
            return fail(p->err, ERR_FORMAT, "%s: %s: two Metaspace are not supported", p->name,
                        p->where);
    return add_stage(p, stage);
}

static bool read_part(const StagePlace *p, const json_t *value, bool last)
{
    static const struct {
        const char *type;
        bool (*read)(const StagePlace *p, const json_t *value);
        bool byte_level; /* the last part of a byte-level model must be such a one, no other may */
    } parts[] = {
        {"ByteLevel", read_byte_level, true},
        {"Split", read_split, false},
        {"Digits", read_digits, false},
        {"WhitespaceSplit", read_whitespace_split, false},
        {"Metaspace", read_metaspace, false},
    };
    const char *type;
    bool byte_level = last && p->t->kind == TOKENIZER_BYTES;
    if (!stage_type(p, value, &type))
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!strcmp(type, parts[i].type) && parts[i].byte_level == byte_level &&
            (parts[i].read != read_metaspace || p->t->kind != TOKENIZER_BYTES))
            return parts[i].read(p, value);
    return stage_unsupported(p, type);
}

static bool read_pre_tokenizer(const StagePlace *p, const json_t *value)
{
    static const char *const keys[] = {"type", "pretokenizers", NULL};
    const char *type;
    if (p->t->kind != TOKENIZER_BYTES && (!value || json_is_null(value)))
        return true;
    if (!stage_type(p, value, &type))
        return false;
    if (strcmp(type, "Sequence"))
        return read_part(p, value, true);
    const json_t *parts = json_object_get(value, "pretokenizers");
    size_t i, count = json_array_size(parts);
    json_t *part;
    if (!stage_keys(p, value, keys))
        return false;
    json_array_foreach(parts, i, part)
        if (!read_part(p, part, i + 1 == count))
            return false;
    if (!count)
        return fail(p->err, ERR_FORMAT, "%s: %s: the Sequence is empty", p->name, p->where);
    return true;
}

/* ---- post_processor ---- */

/* The ids of one special token of a template, at the end of list[0..*count). */
static bool add_frame(const StagePlace *p, const json_t *ids, int32_t *list, uint32_t *count)
{
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id) {
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value >= (json_int_t)p->t->vocab)
            return fail(p->err, ERR_FORMAT, "%s: %s: an id of special_tokens is outside 0..%u",
                        p->name, p->where, p->t->vocab - 1);
        if (*count == FRAME_MAX)
            return fail(p->err, ERR_LIMIT, "%s: %s: more than %d special tokens on one side",
                        p->name, p->where, FRAME_MAX);
        list[(*count)++] = (int32_t)value;
    }
    return json_array_size(ids) > 0 ||
           fail(p->err, ERR_FORMAT, "%s: %s: a special token of single has no ids", p->name,
                p->where);
}

static bool read_template(const StagePlace *p, const json_t *value)
{
    Tokenizer *t = p->t;
    const json_t *specials = json_object_get(value, "special_tokens");
    size_t i;
    json_t *item;
    bool after = false;
    json_array_foreach(json_object_get(value, "single"), i, item) {
        const json_t *special = json_object_get(item, "SpecialToken");
        const char *id = json_string_value(json_object_get(special, "id"));
        if (json_object_get(item, "Sequence")) {
            after = true;
            continue;
        }
        if (!id)
            return fail(p->err, ERR_FORMAT, "%s: %s: entry %zu of single is neither a Sequence nor "
                        "a SpecialToken", p->name, p->where, i);
        const json_t *ids = json_object_get(json_object_get(specials, id), "ids");
        if (!add_frame(p, ids, after ? t->after : t->before,
                       after ? &t->after_count : &t->before_count))
            return false;
    }
    if (t->before_count)
        t->bos = t->before[0];
    if (t->after_count)
        t->eos = t->after[t->after_count - 1];
    return true;
}

static bool read_post_processor(const StagePlace *p, const json_t *value, bool nested)
{
    if (!value || json_is_null(value))
        return true;
    const char *type;
    if (!stage_type(p, value, &type))
        return false;
    if (!strcmp(type, "ByteLevel"))
        return true;
    if (!strcmp(type, "TemplateProcessing"))
        return read_template(p, value);
    if (nested || strcmp(type, "Sequence"))
        return stage_unsupported(p, type);
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(value, "processors"), i, part)
        if (!read_post_processor(p, part, true))
            return false;
    return true;
}

/* ---- decoder ---- */

static bool decode_replace(const StagePlace *p, const json_t *value)
{
    const json_t *regex, *literal;
    const char *content = json_string_value(json_object_get(value, "content"));
    if (!stage_pattern(p, value, &regex, &literal))
        return false;
    if (!literal || strcmp(json_string_value(literal), MARK) || !content || strcmp(content, " "))
        return fail(p->err, ERR_FORMAT, "%s: %s: Replace is supported from U+2581 to a blank",
                    p->name, p->where);
    p->t->marks = true;
    return true;
}

static bool decode_strip(const StagePlace *p, const json_t *value)
{
    const char *content = json_string_value(json_object_get(value, "content"));
    uint32_t stop;
    if (!json_get_u32(value, "start", 0, UINT32_MAX, 0, &p->t->strip, p->name, p->err) ||
        !json_get_u32(value, "stop", 0, UINT32_MAX, 0, &stop, p->name, p->err))
        return false;
    if (!content || strcmp(content, " ") || stop)
        return fail(p->err, ERR_FORMAT, "%s: %s: Strip is supported for blanks at the start",
                    p->name, p->where);
    return true;
}

static bool decode_metaspace(const StagePlace *p, const json_t *value)
{
    SplitStage stage;
    if (!metaspace_options(p, value, &stage))
        return false;
    p->t->marks = true;
    p->t->strip = stage.prepend != PREPEND_NEVER;
    return true;
}

static bool read_decoder(const StagePlace *p, const json_t *value, bool nested)
{
    static const struct {
        const char *type;
        bool (*read)(const StagePlace *p, const json_t *value); /* NULL: nothing to read */
        bool bytes; /* of a byte-level model */
    } parts[] = {
        {"ByteLevel", NULL, true},           {"ByteFallback", NULL, false},
        {"Fuse", NULL, false},               {"Replace", decode_replace, false},
        {"Strip", decode_strip, false},      {"Metaspace", decode_metaspace, false},
    };
    const char *type;
    if (!stage_type(p, value, &type))
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(type, parts[i].type) && parts[i].bytes == (p->t->kind == TOKENIZER_BYTES))
            return !parts[i].read || parts[i].read(p, value);
    if (nested || strcmp(type, "Sequence"))
        return stage_unsupported(p, type);
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(value, "decoders"), i, part)
        if (!read_decoder(p, part, true))
            return false;
    return true;
}

static bool holds_type(const json_t *value, const char *list, const char *type)
{
    const char *own = json_string_value(json_object_get(value, "type"));
    size_t i;
    json_t *part;
    if (own && !strcmp(own, type))
        return true;
    json_array_foreach(json_object_get(value, list), i, part) {
        own = json_string_value(json_object_get(part, "type"));
        if (own && !strcmp(own, type))
            return true;
    }
    return false;
}

bool tokenizer_stages_bytes(const json_t *root)
{
    return holds_type(json_object_get(root, "pre_tokenizer"), "pretokenizers", "ByteLevel") ||
           holds_type(json_object_get(root, "decoder"), "decoders", "ByteLevel");
}

bool tokenizer_stages_read(Tokenizer *t, const json_t *root, const char *name, Error *err)
{
    json_t *normalizer = json_object_get(root, "normalizer");
    json_t *pre_tokenizer = json_object_get(root, "pre_tokenizer");
    json_t *post_processor = json_object_get(root, "post_processor");
    json_t *decoder = json_object_get(root, "decoder");
    StagePlace place = {t, name, "normalizer", err};
    if (!normalizer_read(&place, normalizer, false))
        return false;
    place.where = "pre_tokenizer";
    if (!read_pre_tokenizer(&place, pre_tokenizer))
        return false;
    place.where = "post_processor";
    if (!read_post_processor(&place, post_processor, false))
        return false;
    place.where = "decoder";
    if (!read_decoder(&place, decoder, false))
        return false;
    t->normalizer_json = json_incref(normalizer); /* json_incref takes NULL */
    t->pre_tokenizer = json_incref(pre_tokenizer);
    t->post_processor = json_incref(post_processor);
    t->decoder = json_incref(decoder);
    return true;
}
