/* tokenizer_export.c: in the words of tokenizer.json what surrounds a model of another format, so
 * that tokenizer_save writes it and Hugging Face's tokenizers gives the same ids.
 *
 * Pieces: what normalizer_spec asks for becomes Precompiled, Strip, Replace, Prepend and Replace,
 * as Hugging Face's own converter writes Llama's. Where a file has whole pieces, which cut the text
 * before it is normalised there, Prepend would put a blank behind each: Metaspace "first" takes its
 * place. It puts none before a text that begins with one, so that such a blank is doubled before;
 * the one case that differs is a blank right behind a whole piece.
 */
#include "format/json.h"
#include "text/base64.h"
#include "text/tokenizer_formats.h"

static bool no_memory(Error *err)
{
    return fail(err, ERR_MEMORY, "no memory for a tokenizer");
}

bool tokenizer_export_split(Tokenizer *t, const char *pattern, Error *err)
{
    if (!t->pre_tokenizer)
        t->pre_tokenizer = json_pack("{s:s,s:[]}", "type", "Sequence", "pretokenizers");
    json_t *list = json_object_get(t->pre_tokenizer, "pretokenizers");
    json_t *split = json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex", pattern,
                              "behavior", "Isolated", "invert", 0);
    return json_array_append_new(list, split) == 0 || no_memory(err);
}

/* ids as entries of a template's `single` and members of its `special_tokens`. */
static bool add_frame(const Tokenizer *t, const int32_t *ids, uint32_t count, json_t *single,
                      json_t *specials)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *text = t->bytes.data + t->keys[ids[i]].start;
        size_t size = t->keys[ids[i]].size;
        json_t *entry = json_pack("{s:{s:s%,s:i}}", "SpecialToken", "id", text, size, "type_id", 0);
        json_t *special = json_pack("{s:s%,s:[i],s:[s%]}", "id", text, size, "ids", (int)ids[i],
                                    "tokens", text, size);
        bool good = json_array_append_new(single, entry) == 0;
        if (json_object_setn_new(specials, text, size, special) != 0 || !good)
            return false;
    }
    return true;
}

static bool add_sequence(json_t *single)
{
    return json_array_append_new(
               single, json_pack("{s:{s:s,s:i}}", "Sequence", "id", "A", "type_id", 0)) == 0;
}

static bool export_frame(Tokenizer *t, Error *err)
{
    if (!t->before_count && !t->after_count)
        return true;
    t->post_processor = json_pack("{s:s,s:[],s:[{s:{s:s,s:i}},{s:{s:s,s:i}}],s:{}}", "type",
                                  "TemplateProcessing", "single", "pair", "Sequence", "id", "A",
                                  "type_id", 0, "Sequence", "id", "B", "type_id", 1,
                                  "special_tokens");
    json_t *single = json_object_get(t->post_processor, "single");
    json_t *specials = json_object_get(t->post_processor, "special_tokens");
    return (add_frame(t, t->before, t->before_count, single, specials) && add_sequence(single) &&
            add_frame(t, t->after, t->after_count, single, specials)) ||
           no_memory(err);
}

static bool export_bytes(Tokenizer *t, Error *err)
{
    json_t *last = json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                             "trim_offsets", 1, "use_regex", 0);
    if (json_array_append_new(json_object_get(t->pre_tokenizer, "pretokenizers"), last) != 0)
        return no_memory(err);
    if (t->normalizer.count)
        t->normalizer_json = json_pack("{s:s}", "type", "NFC");
    t->decoder = json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 1,
                           "trim_offsets", 1, "use_regex", 1);
    return t->decoder && (t->normalizer_json || !t->normalizer.count) ? true : no_memory(err);
}

static bool add_charsmap(const Charsmap *map, json_t *steps, Error *err)
{
    auto_buf Buf text;
    buf_init(&text, 2 * (size_t)CHARSMAP_BYTES_MAX);
    base64_write(map->blob, map->size, &text);
    if (!buf_ok(&text, "precompiled_charsmap", err))
        return false;
    json_t *step = json_pack("{s:s,s:s%}", "type", "Precompiled", "precompiled_charsmap", text.data,
                             text.size);
    return json_array_append_new(steps, step) == 0 || no_memory(err);
}

static bool export_normalizer(Tokenizer *t, Error *err)
{
    const NormalStep *step = &t->normalizer.steps[0];
    const char *blank = step->escape ? MARK : " ";
    bool prepend = step->dummy_prefix && !t->whole;
    bool doubled = step->dummy_prefix && t->whole && !step->remove_extra;
    t->normalizer_json = json_pack("{s:s,s:[]}", "type", "Sequence", "normalizers");
    json_t *steps = json_object_get(t->normalizer_json, "normalizers");
    if (step->charsmap.blob && !add_charsmap(&step->charsmap, steps, err))
        return false;
    json_t *const more[] = {
        step->remove_extra ? json_pack("{s:s,s:b,s:b}", "type", "Strip", "strip_left", prepend,
                                       "strip_right", 1)
                           : NULL,
        step->remove_extra ? json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "Regex",
                                       " {2,}", "content", " ")
                           : NULL,
        prepend ? json_pack("{s:s,s:s}", "type", "Prepend", "prepend", blank) : NULL,
        doubled ? json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "Regex",
                            "\\A[ " MARK "]", "content", MARK MARK)
                : NULL,
        step->escape ? json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", " ",
                                 "content", MARK)
                     : NULL,
    };
    size_t wanted = json_array_size(steps) + 2 * (size_t)step->remove_extra + prepend + doubled +
                    step->escape;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (more[i])
            json_array_append_new(steps, more[i]);
    return (steps && json_array_size(steps) == wanted) || no_memory(err);
}

static bool export_pieces(Tokenizer *t, Error *err)
{
    const NormalStep *step = &t->normalizer.steps[0];
    if (!export_normalizer(t, err))
        return false;
    bool first = step->dummy_prefix && t->whole;
    if (first)
        t->pre_tokenizer = json_pack("{s:s,s:s,s:s,s:b}", "type", "Metaspace", "replacement", MARK,
                                     "prepend_scheme", "first", "split", 0);
    t->decoder = json_pack("{s:s,s:[{s:s,s:{s:s},s:s},{s:s},{s:s},{s:s,s:s,s:i,s:i}]}", "type",
                           "Sequence", "decoders", "type", "Replace", "pattern", "String", MARK,
                           "content", " ", "type", "ByteFallback", "type", "Fuse", "type", "Strip",
                           "content", " ", "start", t->strip ? 1 : 0, "stop", 0);
    if (t->unknown >= 0)
        t->unk_token = json_stringn(t->bytes.data + t->keys[t->unknown].start,
                                    t->keys[t->unknown].size);
    bool good = t->decoder && (t->pre_tokenizer || !first) && (t->unk_token || t->unknown < 0);
    return good || no_memory(err);
}

bool tokenizer_export(Tokenizer *t, Error *err)
{
    bool done = t->kind == TOKENIZER_BYTES ? export_bytes(t, err) : export_pieces(t, err);
    return done && export_frame(t, err);
}
