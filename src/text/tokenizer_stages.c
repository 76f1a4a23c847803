/* tokenizer_stages.c: see tokenizer_stages.h.
 *
 *   normalizer      null, NFC, Sequence of these
 *   pre_tokenizer   ByteLevel, or Sequence of Split and Digits that ends with ByteLevel
 *   post_processor  null, ByteLevel, TemplateProcessing, Sequence of these; kept, not applied
 *   decoder         ByteLevel
 */
#include "base/buf.h"
#include "format/json.h"
#include "text/tokenizer_stages.h"

#include <string.h>

/* Where the reader is: the object and its path for errors. */
typedef struct {
    Tokenizer *t;
    const char *name, *where;
    Error *err;
} Place;

static bool type_of(const Place *p, const json_t *value, const char **type)
{
    *type = json_string_value(json_object_get(value, "type"));
    if (*type)
        return true;
    return fail(p->err, ERR_FORMAT, "%s: %s: missing, or without type", p->name, p->where);
}

static bool not_supported(const Place *p, const char *type)
{
    return fail(p->err, ERR_FORMAT, "%s: %s: type '%.40s' is not supported here", p->name,
                p->where, type);
}

static bool only_keys(const Place *p, const json_t *value, const char *const *keys)
{
    return json_only_keys(value, keys, p->name, p->err) || fail_within(p->err, "%s", p->where);
}

static bool read_normalizer(const Place *p, const json_t *value, bool nested)
{
    static const char *const keys[] = {"type", "normalizers", NULL};
    if (!value || json_is_null(value))
        return true;
    const char *type;
    if (!type_of(p, value, &type) || !only_keys(p, value, keys))
        return false;
    if (!strcmp(type, "NFC")) {
        p->t->nfc = true;
        return true;
    }
    if (nested || strcmp(type, "Sequence"))
        return not_supported(p, type);
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(value, "normalizers"), i, part)
        if (!read_normalizer(p, part, true))
            return false;
    return true;
}

static bool add_stage(const Place *p, const char *pattern, size_t size)
{
    Tokenizer *t = p->t;
    if (t->stage_count == STAGES_MAX)
        return fail(p->err, ERR_LIMIT, "%s: %s: more than %d parts", p->name, p->where, STAGES_MAX);
    SplitPattern *made = NULL;
    bool gpt2 = size == strlen(pretoken_gpt2_pattern) &&
                !memcmp(pattern, pretoken_gpt2_pattern, size);
    if (!gpt2 && !split_pattern_new(&made, pattern, size, p->err))
        return fail_within(p->err, "%s: %s", p->name, p->where);
    t->stages[t->stage_count++].pattern = made;
    return true;
}

static bool read_byte_level(const Place *p, const json_t *value)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                       NULL};
    bool prefix, regex, trim;
    if (!only_keys(p, value, keys) ||
        !json_get_bool(value, "add_prefix_space", true, &prefix, p->name, p->err) ||
        !json_get_bool(value, "trim_offsets", true, &trim, p->name, p->err) ||
        !json_get_bool(value, "use_regex", true, &regex, p->name, p->err))
        return false;
    if (prefix && p->t->stage_count)
        return fail(p->err, ERR_FORMAT, "%s: %s: add_prefix_space after a Split is not supported",
                    p->name, p->where);
    p->t->add_prefix_space = prefix;
    return !regex || add_stage(p, pretoken_gpt2_pattern, strlen(pretoken_gpt2_pattern));
}

/* A pattern of type String is itself, taken literally. */
static bool add_literal(const Place *p, const json_t *literal)
{
    auto_buf Buf quoted;
    buf_init(&quoted, 2 * SPLIT_PATTERN_BYTES_MAX);
    const char *text = json_string_value(literal);
    for (size_t i = 0; i < json_string_length(literal); i++) {
        if (text[i] > 0 && strchr("\\^$.|?*+()[]{}-&", text[i]))
            buf_add_char(&quoted, '\\');
        buf_add_char(&quoted, text[i]);
    }
    if (!buf_ok(&quoted, "pattern", p->err))
        return false;
    return add_stage(p, quoted.data ? quoted.data : "", quoted.size);
}

static bool read_split(const Place *p, const json_t *value)
{
    static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL};
    const char *behavior;
    if (!only_keys(p, value, keys) ||
        !json_get_text(value, "behavior", "", &behavior, p->name, p->err))
        return false;
    /* Isolated keeps matches and what is between them, so that `invert` changes nothing. */
    if (strcmp(behavior, "Isolated"))
        return fail(p->err, ERR_FORMAT, "%s: %s: behavior '%.40s' is not supported, Isolated is",
                    p->name, p->where, behavior);
    const json_t *pattern = json_object_get(value, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    if (json_object_size(pattern) != 1 || !(json_is_string(regex) || json_is_string(literal)))
        return fail(p->err, ERR_FORMAT, "%s: %s: pattern is neither Regex nor String", p->name,
                    p->where);
    if (regex)
        return add_stage(p, json_string_value(regex), json_string_length(regex));
    return add_literal(p, literal);
}

static bool read_digits(const Place *p, const json_t *value)
{
    static const char *const keys[] = {"type", "individual_digits", NULL};
    bool single;
    if (!only_keys(p, value, keys) ||
        !json_get_bool(value, "individual_digits", false, &single, p->name, p->err))
        return false;
    const char *pattern = single ? "\\p{N}" : "\\p{N}+";
    return add_stage(p, pattern, strlen(pattern));
}

static bool read_part(const Place *p, const json_t *value, bool last)
{
    static const struct {
        const char *type;
        bool (*read)(const Place *p, const json_t *value);
        bool last; /* the last part must be such a one, and no other may be */
    } parts[] = {
        {"ByteLevel", read_byte_level, true},
        {"Split", read_split, false},
        {"Digits", read_digits, false},
    };
    const char *type;
    if (!type_of(p, value, &type))
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!strcmp(type, parts[i].type) && parts[i].last == last)
            return parts[i].read(p, value);
    return not_supported(p, type);
}

static bool read_pre_tokenizer(const Place *p, const json_t *value)
{
    static const char *const keys[] = {"type", "pretokenizers", NULL};
    const char *type;
    if (!type_of(p, value, &type))
        return false;
    if (strcmp(type, "Sequence"))
        return read_part(p, value, true);
    const json_t *parts = json_object_get(value, "pretokenizers");
    size_t i, count = json_array_size(parts);
    json_t *part;
    if (!only_keys(p, value, keys))
        return false;
    json_array_foreach(parts, i, part)
        if (!read_part(p, part, i + 1 == count))
            return false;
    if (!count)
        return fail(p->err, ERR_FORMAT, "%s: %s: the Sequence is empty", p->name, p->where);
    return true;
}

static bool check_post_processor(const Place *p, const json_t *value, bool nested)
{
    if (!value || json_is_null(value))
        return true;
    const char *type;
    if (!type_of(p, value, &type))
        return false;
    if (!strcmp(type, "ByteLevel") || !strcmp(type, "TemplateProcessing"))
        return true;
    if (nested || strcmp(type, "Sequence"))
        return not_supported(p, type);
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(value, "processors"), i, part)
        if (!check_post_processor(p, part, true))
            return false;
    return true;
}

static bool check_decoder(const Place *p, const json_t *value)
{
    const char *type;
    if (!type_of(p, value, &type))
        return false;
    return !strcmp(type, "ByteLevel") || not_supported(p, type);
}

bool tokenizer_stages_read(Tokenizer *t, const json_t *root, const char *name, Error *err)
{
    json_t *normalizer = json_object_get(root, "normalizer");
    json_t *pre_tokenizer = json_object_get(root, "pre_tokenizer");
    json_t *post_processor = json_object_get(root, "post_processor");
    json_t *decoder = json_object_get(root, "decoder");
    Place place = {t, name, "normalizer", err};
    if (!read_normalizer(&place, normalizer, false))
        return false;
    place.where = "pre_tokenizer";
    if (!read_pre_tokenizer(&place, pre_tokenizer))
        return false;
    place.where = "post_processor";
    if (!check_post_processor(&place, post_processor, false))
        return false;
    place.where = "decoder";
    if (!check_decoder(&place, decoder))
        return false;
    t->normalizer = json_incref(normalizer); /* json_incref takes NULL */
    t->pre_tokenizer = json_incref(pre_tokenizer);
    t->post_processor = json_incref(post_processor);
    t->decoder = json_incref(decoder);
    return true;
}
