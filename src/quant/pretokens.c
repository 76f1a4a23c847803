/* pretokens.c: see pretokens.h. */
#include "quant/pretokens.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define LETTERS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define SIGNS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define START "[^\\r\\n\\p{L}\\p{N}]?"

const PretokenRule pretoken_rules[] = {
    {"gpt-2", NULL, false, false},
    {"llama-bpe", CONTRACTIONS LETTERS "\\p{N}{1,3}|" SIGNS, true, false},
    {"qwen2", CONTRACTIONS LETTERS "\\p{N}|" SIGNS, false, true},
    {"tekken", START UPPER "*" LOWER "+|" START UPPER "+" LOWER "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+"
               "[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", true, false},
    {0},
};

static const struct {
    const char *alias, *name;
} aliases[] = {{"llama3", "llama-bpe"}, {"llama-v3", "llama-bpe"}, {"gpt2", "gpt-2"},
               {"smaug-bpe", "llama-bpe"}, {"deepseek-r1-qwen", "qwen2"}};

const PretokenRule *pretoken_named(const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (strcmp(name, aliases[i].alias) == 0)
            name = aliases[i].name;
    }
    for (const PretokenRule *rule = pretoken_rules; rule->name; rule++) {
        if (strcmp(name, rule->name) == 0)
            return rule;
    }
    return NULL;
}

static bool is_type(const json_t *stage, const char *type)
{
    const char *text = json_string_value(json_object_get(stage, "type"));
    return text && strcmp(text, type) == 0;
}

/* ByteLevel with or without its own pattern, and without a first blank. */
static bool is_byte_level(const json_t *stage, bool cuts)
{
    const json_t *regex = json_object_get(stage, "use_regex");
    bool uses = !regex || json_is_true(regex);
    return is_type(stage, "ByteLevel") && uses == cuts &&
           !json_is_true(json_object_get(stage, "add_prefix_space"));
}

static const char *split_pattern(const json_t *stage)
{
    const char *behaviour = json_string_value(json_object_get(stage, "behavior"));
    if (!is_type(stage, "Split") || !behaviour || strcmp(behaviour, "Isolated") != 0 ||
        json_is_true(json_object_get(stage, "invert")))
        return NULL;
    return json_string_value(json_object_get(json_object_get(stage, "pattern"), "Regex"));
}

static bool normalizes_as(const json_t *tokenizer, bool nfc)
{
    const json_t *normalizer = json_object_get(tokenizer, "normalizer");
    return !normalizer || json_is_null(normalizer) ? !nfc : nfc && is_type(normalizer, "NFC");
}

const PretokenRule *pretoken_of_json(const json_t *tokenizer)
{
    const json_t *stage = json_object_get(tokenizer, "pre_tokenizer");
    const json_t *list = is_type(stage, "Sequence") ? json_object_get(stage, "pretokenizers") : NULL;
    bool whole = json_is_true(json_object_get(json_object_get(tokenizer, "model"),
                                              "ignore_merges"));
    const char *pattern = NULL;
    if (list && json_array_size(list) == 1)
        stage = json_array_get(list, 0);
    if (list && json_array_size(list) == 2) {
        pattern = split_pattern(json_array_get(list, 0));
        stage = json_array_get(list, 1);
        if (!pattern)
            return NULL;
    }
    if (!is_byte_level(stage, pattern == NULL))
        return NULL;
    for (const PretokenRule *rule = pretoken_rules; rule->name; rule++) {
        bool same = pattern && rule->pattern ? strcmp(pattern, rule->pattern) == 0
                                             : pattern == rule->pattern;
        if (same && rule->whole_tokens == whole && normalizes_as(tokenizer, rule->nfc))
            return rule;
    }
    return NULL;
}

json_t *pretoken_to_json(const PretokenRule *rule)
{
    if (!rule->pattern)
        return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                         "trim_offsets", 1, "use_regex", 1);
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b, s:b}]}", "type",
                     "Sequence", "pretokenizers", "type", "Split", "pattern", "Regex",
                     rule->pattern, "behavior", "Isolated", "invert", 0, "type", "ByteLevel",
                     "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0);
}
