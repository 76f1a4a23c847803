/* gguf_vocab.c: see gguf_vocab.h. Whatever the file, tokens are put into one list by id, which is then
 * written. */
#include "quant/gguf_vocab.h"

#include "base/mem.h"
#include "format/pieces.h"
#include "quant/pretokens.h"
#include "text/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FILE_BYTES_MAX = 64 << 20, ARENA_BYTES_MAX = 512 << 20 };

typedef struct {
    GgufWriter *w;
    const Source *source;
    uint32_t count; /* the model's vocabulary */
    GgufText *texts;
    int32_t *kinds; /* PieceKind; 0: no token yet */
    Arena arena;
} Vocab;

static bool fail_memory(const Vocab *v, Error *err)
{
    return fail(err, ERR_MEMORY, "no memory for %" PRIu32 " tokens", v->count);
}

static bool put(Vocab *v, uint64_t id, const char *text, size_t bytes, PieceKind kind,
                const char *file, Error *err)
{
    if (id >= v->count)
        return fail(err, ERR_FORMAT, "%s: token %" PRIu64 " is outside of the model's vocabulary "
                                     "of %" PRIu32, file, id, v->count);
    bool same = v->texts[id].bytes == bytes && v->texts[id].text &&
                memcmp(v->texts[id].text, text, bytes) == 0;
    if (v->kinds[id] && !same) /* an added token may stand in the vocabulary as well */
        return fail(err, ERR_FORMAT, "%s: two tokens have id %" PRIu64, file, id);
    v->texts[id] = (GgufText){text, bytes};
    v->kinds[id] = (int32_t)kind;
    return true;
}

static bool write_tokens(Vocab *v, Error *err)
{
    for (uint32_t id = 0; id < v->count; id++) {
        if (v->kinds[id])
            continue;
        char *name = arena_format(&v->arena, "[PAD%" PRIu32 "]", id);
        if (!name)
            return fail_memory(v, err);
        v->texts[id] = (GgufText){name, strlen(name)};
        v->kinds[id] = PIECE_UNUSED;
    }
    gguf_add_texts(v->w, "tokenizer.ggml.tokens", v->texts, v->count);
    gguf_add_array(v->w, "tokenizer.ggml.token_type", GGUF_I32, v->kinds, v->count);
    return true;
}

static bool read_json(const Source *s, const char *name, json_t **out, Error *err)
{
    const SourceFile *extra = source_extra(s, name);
    auto_buf Buf text;
    buf_init(&text, FILE_BYTES_MAX);
    *out = NULL;
    return !extra || (source_read_extra(extra, &text, err) &&
                      json_parse(out, text.data ? text.data : "", text.size, name, err));
}

/* ---- tokenizer.json ---- */

static bool add_added(Vocab *v, const json_t *file, Error *err)
{
    const json_t *list = json_object_get(file, "added_tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i), *text = json_object_get(entry, "content");
        const json_t *id = json_object_get(entry, "id");
        bool special = json_is_true(json_object_get(entry, "special"));
        if (!json_is_string(text) || !json_is_integer(id) || json_integer_value(id) < 0)
            return fail(err, ERR_FORMAT, "tokenizer.json: added_tokens: entry %zu has no id and "
                                         "content", i);
        if (!put(v, (uint64_t)json_integer_value(id), json_string_value(text),
                 json_string_length(text), special ? PIECE_CONTROL : PIECE_USER, "tokenizer.json",
                 err))
            return false;
    }
    return true;
}

static bool add_vocab(Vocab *v, json_t *model, Error *err)
{
    json_t *vocab = json_object_get(model, "vocab"), *id;
    const char *text;
    json_object_foreach(vocab, text, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return fail(err, ERR_FORMAT, "tokenizer.json: model.vocab: '%.40s' has no id", text);
        if (!put(v, (uint64_t)json_integer_value(id), text, strlen(text), PIECE_NORMAL,
                 "tokenizer.json", err))
            return false;
    }
    return true;
}

/* A merge is "a b", or ["a", "b"] in newer files. */
static bool add_merges(Vocab *v, const json_t *model, Error *err)
{
    const json_t *merges = json_object_get(model, "merges");
    size_t count = json_array_size(merges);
    auto_free GgufText *texts = mem_alloc(count, sizeof *texts);
    if (!texts)
        return fail_memory(v, err);
    for (size_t i = 0; i < count; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *text = json_string_value(merge);
        const char *left = json_string_value(json_array_get(merge, 0));
        const char *right = json_string_value(json_array_get(merge, 1));
        if (!text && left && right)
            text = arena_format(&v->arena, "%s %s", left, right);
        if (!text)
            return fail(err, ERR_FORMAT, "tokenizer.json: model.merges: entry %zu is no pair", i);
        texts[i] = (GgufText){text, strlen(text)};
    }
    gguf_add_texts(v->w, "tokenizer.ggml.merges", texts, count);
    return true;
}

/* True when the post-processor puts a token before every text. */
static bool begins(const json_t *processor)
{
    const json_t *list = json_object_get(processor, "processors");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (begins(json_array_get(list, i)))
            return true;
    }
    const json_t *first = json_array_get(json_object_get(processor, "single"), 0);
    return json_is_object(json_object_get(first, "SpecialToken"));
}

static bool add_bpe(Vocab *v, json_t *file, const PretokenRule *rule, bool *begin, Error *err)
{
    json_t *model = json_object_get(file, "model");
    *begin = begins(json_object_get(file, "post_processor"));
    gguf_add_text(v->w, "tokenizer.ggml.model", "gpt2");
    gguf_add_text(v->w, "tokenizer.ggml.pre", rule->name);
    return add_vocab(v, model, err) && add_added(v, file, err) && write_tokens(v, err) &&
           add_merges(v, model, err);
}

/* ---- tokenizer.model ---- */

static void put_id(GgufWriter *w, const char *key, int32_t id)
{
    if (id >= 0)
        gguf_add_u32(w, key, (uint32_t)id);
}

static bool put_pieces(Vocab *v, const Pieces *p, const json_t *file, Error *err)
{
    auto_free float *scores = mem_alloc(v->count, sizeof *scores);
    if (!scores)
        return fail_memory(v, err);
    for (uint32_t i = 0; i < p->count; i++) {
        if (!put(v, i, p->items[i].text, p->items[i].bytes, p->items[i].kind, "tokenizer.model",
                 err))
            return false;
        scores[i] = p->items[i].score;
    }
    if (!add_added(v, file, err) || !write_tokens(v, err))
        return false;
    for (uint32_t i = p->count; i < v->count; i++)
        scores[i] = -1e6f; /* never merged into */
    gguf_add_array(v->w, "tokenizer.ggml.scores", GGUF_F32, scores, v->count);
    gguf_add_bool(v->w, "tokenizer.ggml.add_space_prefix", p->dummy_prefix);
    put_id(v->w, "tokenizer.ggml.unknown_token_id", p->unknown);
    return true;
}

static bool add_pieces(Vocab *v, const json_t *file, Error *err)
{
    Pieces p;
    auto_buf Buf bytes;
    buf_init(&bytes, FILE_BYTES_MAX);
    if (!source_read_extra(source_extra(v->source, "tokenizer.model"), &bytes, err) ||
        !pieces_parse_model(&p, (const uint8_t *)bytes.data, bytes.size, "tokenizer.model", err))
        return false;
    bool told = p.model == PIECES_BPE && !p.charsmap;
    if (!told)
        fail(err, ERR_INPUT, "tokenizer.model: a unigram model, or one that rewrites text, has no "
                             "form in GGUF here");
    gguf_add_text(v->w, "tokenizer.ggml.model", "llama");
    gguf_add_text(v->w, "tokenizer.ggml.pre", "default");
    bool ok = told && put_pieces(v, &p, file, err);
    pieces_done(&p);
    return ok;
}

/* ---- what goes with it ---- */

/* An id of config.json; a list has the main one first. -1: none. */
static int32_t config_id(const Source *s, const char *key, uint32_t vocab)
{
    const json_t *value = json_object_get(s->outline.text, key);
    if (!value || json_is_null(value))
        value = json_object_get(s->config, key);
    if (json_is_array(value))
        value = json_array_get(value, 0);
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < vocab ? (int32_t)id : -1;
}

/* The template: its own file wins over tokenizer_config.json, where a list may hold several. */
static bool add_template(Vocab *v, const json_t *config, Error *err)
{
    const SourceFile *own = source_extra(v->source, "chat_template.jinja");
    const json_t *value = json_object_get(config, "chat_template");
    const char *text = json_string_value(value);
    auto_buf Buf bytes;
    buf_init(&bytes, 4 << 20);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && strcmp(name, "default") == 0)
            text = json_string_value(json_object_get(entry, "template"));
    }
    if (own) {
        if (!source_read_extra(own, &bytes, err))
            return false;
        text = bytes.data;
    }
    if (text && *text)
        gguf_add_text(v->w, "tokenizer.chat_template", text);
    return true;
}

/* llama.cpp takes ids of its own when the file names none, so an end token stands in for a begin
 * token that the model has not; it is never added to a text, and our own key remembers. Returns the
 * begin token, -1: none. */
static int32_t add_ids(Vocab *v)
{
    int32_t first = config_id(v->source, "bos_token_id", v->count);
    int32_t last = config_id(v->source, "eos_token_id", v->count);
    put_id(v->w, "tokenizer.ggml.bos_token_id", first >= 0 ? first : last);
    if (first < 0 && last >= 0)
        gguf_add_bool(v->w, "bastide.no_begin_token", true);
    put_id(v->w, "tokenizer.ggml.eos_token_id", last);
    put_id(v->w, "tokenizer.ggml.padding_token_id", config_id(v->source, "pad_token_id", v->count));
    return first;
}

static bool add_rest(Vocab *v, bool begin, Error *err)
{
    auto_json json_t *config = NULL;
    if (!read_json(v->source, "tokenizer_config.json", &config, err))
        return false;
    int32_t first = add_ids(v);
    const json_t *said = json_object_get(config, "add_bos_token");
    if (json_is_boolean(said))
        begin = json_is_true(said);
    gguf_add_bool(v->w, "tokenizer.ggml.add_bos_token", begin && first >= 0);
    return add_template(v, config, err);
}

/* A tokenizer.json that this program could not use is not passed on. */
static bool check_usable(const Vocab *v, Error *err)
{
    Tokenizer *tokenizer;
    auto_buf Buf text;
    buf_init(&text, FILE_BYTES_MAX);
    if (!source_read_extra(source_extra(v->source, "tokenizer.json"), &text, err) ||
        !tokenizer_parse(&tokenizer, text.data ? text.data : "", text.size, "tokenizer.json", err))
        return false;
    tokenizer_free(tokenizer);
    return true;
}

static bool add_any(Vocab *v, json_t *file, Error *err)
{
    const char *kind = json_string_value(json_object_get(json_object_get(file, "model"), "type"));
    const PretokenRule *rule = kind && strcmp(kind, "BPE") == 0 ? pretoken_of_json(file) : NULL;
    bool begin = true;
    if (rule)
        return check_usable(v, err) && add_bpe(v, file, rule, &begin, err) && add_rest(v, begin, err);
    if (source_extra(v->source, "tokenizer.model"))
        return add_pieces(v, file, err) && add_rest(v, begin, err);
    if (file)
        return check_usable(v, err) &&
               fail(err, ERR_INPUT, "the tokenizer of '%.100s' does not cut text by a rule that "
                                    "GGUF has a name for", v->source->path);
    if (source_extra(v->source, "tekken.json"))
        return fail(err, ERR_INPUT, "'%.100s' has tekken.json alone, which GGUF cannot tell: put "
                                    "its tokenizer.json beside it", v->source->path);
    gguf_add_text(v->w, "tokenizer.ggml.model", "none");
    add_ids(v);
    return true;
}

bool gguf_vocab_add(GgufWriter *w, const Source *source, Error *err)
{
    Vocab v = {.w = w, .source = source, .count = source->outline.vocab};
    auto_json json_t *file = NULL;
    if (!read_json(source, "tokenizer.json", &file, err))
        return false;
    v.texts = mem_alloc(v.count, sizeof *v.texts);
    v.kinds = mem_alloc(v.count, sizeof *v.kinds);
    arena_init(&v.arena, ARENA_BYTES_MAX);
    bool ok = v.texts && v.kinds ? add_any(&v, file, err) : fail_memory(&v, err);
    mem_free(v.texts);
    mem_free(v.kinds);
    arena_done(&v.arena);
    return ok;
}
