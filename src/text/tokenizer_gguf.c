/* tokenizer_gguf.c: the vocabulary of a GGUF file (keys tokenizer.ggml.*).
 *
 *   model   what it is                   read as
 *   gpt2    byte-level BPE with merges   patterns by the name in tokenizer.ggml.pre
 *   llama   SentencePiece BPE            pieces with scores
 *   t5      SentencePiece unigram        pieces with scores
 *
 * The table of names repeats what the models' own tokenizer.json files say; llama.cpp knows more of
 * them, and a name that is missing here is refused.
 */
#include "base/mem.h"
#include "text/tokenizer_formats.h"
#include "text/tokenizer_stages.h"
#include "text/utf8.h"

#include <math.h>
#include <string.h>

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define LLAMA3 CONTRACTION "|" WORD "\\p{N}{1,3}|" TAIL
#define QWEN2 CONTRACTION "|" WORD "\\p{N}|" TAIL
#define QWEN35 CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|" \
               " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(more) "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" more "|[^\\r\\n\\p{L}\\p{N}]?" UPPER \
                    "+" LOWER "*" more "|"
#define SLASH_TAIL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define HAN "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-\xed\x9f\xbf]+"
#define HAN_KANA "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+"
#define DEEPSEEK3 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|" \
                  "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" \
                  "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

typedef struct {
    const char *names[10];
    const char *patterns[6]; /* "": GPT-2's; stages in order */
    bool ignore_merges, add_bos, nfc;
} PreRow;

static const PreRow pres[] = {
    {{"gpt-2", "gpt2", "phi-2", "jina-es", "jina-de", "olmo", "jais", "mpt", "gigachat"}, {""},
     false, false, false},
    {{"llama3", "llama-bpe", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "smaug-bpe",
      "dbrx", "glm4"}, {LLAMA3}, true, true, false},
    {{"chatglm-bpe"}, {LLAMA3}, false, false, false},
    {{"qwen2", "deepseek-r1-qwen", "hunyuan", "megrez"}, {QWEN2}, false, false, true},
    {{"stablelm2"}, {QWEN2}, false, false, false},
    {{"qwen35"}, {QWEN35}, false, false, true},
    {{"tekken"}, {CASED("") "\\p{N}|" SLASH_TAIL}, true, true, false},
    {{"gpt-4o", "llama4"}, {CASED(CONTRACTION "?") "\\p{N}{1,3}|" SLASH_TAIL}, false, false, false},
    {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"},
     {"\\p{N}", ""}, false, false, false},
    {{"deepseek-coder"}, {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN, "\\p{N}"}, false, false,
     false},
    {{"deepseek-v3", "hunyuan-dense"}, {"\\p{N}{1,3}", HAN_KANA, DEEPSEEK3}, false, false, false},
};

typedef struct {
    const Gguf *gguf;
    const char *name;
    const GgufValue *tokens, *types; /* types NULL: all normal */
    uint32_t count;
    Tokenizer *t;
    Error *err;
} GgufReading;

static PieceType type_at(const GgufReading *r, uint32_t id)
{
    double type = r->types ? gguf_number(r->types, id) : PIECE_NORMAL;
    return type >= PIECE_NORMAL && type <= PIECE_BYTE ? (PieceType)type : (PieceType)0;
}

static bool open_tokens(GgufReading *r)
{
    if (!gguf_need_array(r->gguf, "tokenizer.ggml.tokens", GGUF_TEXT, 1, TOKENIZER_VOCAB_MAX,
                         &r->tokens, r->err))
        return false;
    r->count = (uint32_t)r->tokens->count;
    return !gguf_find(r->gguf, "tokenizer.ggml.token_type") ||
           gguf_need_array(r->gguf, "tokenizer.ggml.token_type", GGUF_I32, r->count, r->count,
                           &r->types, r->err);
}

/* An id named by a key; -1: absent. */
static bool read_token_id(const GgufReading *r, const char *key, int32_t *out)
{
    uint32_t id = UINT32_MAX;
    if (gguf_find(r->gguf, key) && !gguf_need_u32(r->gguf, key, 0, UINT32_MAX, &id, r->err))
        return false;
    *out = id < r->count ? (int32_t)id : -1; /* writers put UINT32_MAX for "none" */
    return true;
}

/* ---- pieces ---- */

static bool fill_pieces(const GgufReading *r, PieceModel *m)
{
    const GgufValue *scores;
    const uint8_t *at = r->tokens->bytes;
    if (!gguf_need_array(r->gguf, "tokenizer.ggml.scores", GGUF_F32, r->count, r->count, &scores,
                         r->err))
        return false;
    for (uint32_t id = 0; id < r->count; id++) {
        Piece *piece = &m->pieces[id];
        uint64_t size;
        gguf_next_text(&at, &piece->text, &size);
        piece->size = (size_t)size;
        piece->score = (float)gguf_number(scores, id);
        piece->type = type_at(r, id);
        m->byte_fallback |= piece->type == PIECE_BYTE;
    }
    return true;
}

static bool read_pieces(GgufReading *r, bool unigram)
{
    PieceModel m = {.name = r->name, .count = r->count, .unigram = unigram, .escape = true};
    const GgufValue *map = gguf_find(r->gguf, "tokenizer.ggml.precompiled_charsmap");
    if (map && map->is_array && (map->type == GGUF_U8 || map->type == GGUF_I8)) {
        m.charsmap = map->bytes;
        m.charsmap_size = (size_t)map->count;
    }
    if (!gguf_get_bool(r->gguf, "tokenizer.ggml.add_space_prefix", true, &m.dummy_prefix, r->err) ||
        !gguf_get_bool(r->gguf, "tokenizer.ggml.remove_extra_whitespaces", unigram,
                       &m.remove_extra, r->err) ||
        !gguf_get_bool(r->gguf, "tokenizer.ggml.add_bos_token", !unigram, &m.add_bos, r->err) ||
        !gguf_get_bool(r->gguf, "tokenizer.ggml.add_eos_token", unigram, &m.add_eos, r->err) ||
        !read_token_id(r, "tokenizer.ggml.bos_token_id", &m.bos) ||
        !read_token_id(r, "tokenizer.ggml.eos_token_id", &m.eos))
        return false;
    m.pieces = mem_alloc(r->count, sizeof *m.pieces);
    if (!m.pieces)
        return fail(r->err, ERR_MEMORY, "no memory for the pieces of %s", r->name);
    bool done = fill_pieces(r, &m) && tokenizer_from_pieces(&r->t, &m, r->err);
    mem_free(m.pieces);
    return done;
}

static bool read_llama(GgufReading *r)
{
    return read_pieces(r, false);
}

static bool read_t5(GgufReading *r)
{
    return read_pieces(r, true);
}

/* ---- byte-level BPE ---- */

static bool add_byte_level(GgufReading *r, uint32_t id, const char *text, size_t size,
                           uint8_t *bytes)
{
    Tokenizer *t = r->t;
    PieceType type = type_at(r, id);
    if (type == PIECE_UNUSED || !size)
        return true;
    if (utf8_valid_prefix((const uint8_t *)text, size) != size || size > TOKENIZER_TOKEN_BYTES_MAX)
        return fail(r->err, ERR_FORMAT, "token %u is no UTF-8, or too long", id);
    bool added = type == PIECE_WHOLE || type == PIECE_CONTROL || type == PIECE_UNKNOWN;
    if (added) {
        t->kinds[id] = type == PIECE_WHOLE ? 0 : TOKEN_SPECIAL;
        t->added[t->added_count++] = (AddedToken){.id = (int32_t)id, .special = type != PIECE_WHOLE};
        return tokenizer_model_token(t, (int32_t)id, text, size, r->err);
    }
    t->kinds[id] = TOKEN_MODEL;
    if (!bytelevel_read(text, size, bytes, &size))
        return fail(r->err, ERR_FORMAT, "token %u '%.40s' is not in the byte-level alphabet", id,
                    text);
    return tokenizer_model_token(t, (int32_t)id, bytes, size, r->err);
}

static bool add_tokens(GgufReading *r)
{
    auto_free uint8_t *bytes = mem_alloc(TOKENIZER_TOKEN_BYTES_MAX, 1);
    const uint8_t *at = r->tokens->bytes;
    r->t->added = mem_alloc(r->count, sizeof *r->t->added);
    if (!bytes || !r->t->added)
        return fail(r->err, ERR_MEMORY, "no memory for a tokenizer");
    for (uint32_t id = 0; id < r->count; id++) {
        const char *text;
        uint64_t size;
        gguf_next_text(&at, &text, &size);
        if (!add_byte_level(r, id, text, (size_t)size, bytes))
            return fail_within(r->err, "%s: tokenizer.ggml.tokens", r->name);
    }
    return tokenizer_model_index(r->t, r->err);
}

/* "a b" in the byte-level alphabet. */
static bool add_merge(GgufReading *r, uint32_t rank, const char *text, size_t size, uint8_t *bytes)
{
    Tokenizer *t = r->t;
    const char *blank = memchr(text, ' ', size);
    size_t left_size, right_size;
    if (!blank || size > TOKENIZER_TOKEN_BYTES_MAX ||
        utf8_valid_prefix((const uint8_t *)text, size) != size ||
        !bytelevel_read(text, (size_t)(blank - text), bytes, &left_size) ||
        !bytelevel_read(blank + 1, size - 1 - (size_t)(blank - text), bytes + left_size,
                        &right_size))
        return fail(r->err, ERR_FORMAT, "merge %u is not \"a b\" in the byte-level alphabet", rank);
    int32_t left = tokenizer_token_of(t, bytes, left_size);
    int32_t right = tokenizer_token_of(t, bytes + left_size, right_size);
    int32_t result = tokenizer_token_of(t, bytes, left_size + right_size);
    if (left < 0 || right < 0 || result < 0)
        return fail(r->err, ERR_FORMAT, "merge %u '%.*s' names a token that is not there", rank,
                    size > 60 ? 60 : (int)size, text);
    t->merges[t->merge_count++] = (Merge){left, right, result, rank};
    return true;
}

static bool add_merges(GgufReading *r)
{
    const GgufValue *merges;
    if (!gguf_need_array(r->gguf, "tokenizer.ggml.merges", GGUF_TEXT, 0, TOKENIZER_MERGES_MAX,
                         &merges, r->err))
        return false;
    auto_free uint8_t *bytes = mem_alloc(TOKENIZER_TOKEN_BYTES_MAX, 1);
    r->t->merges = mem_alloc(merges->count, sizeof *r->t->merges);
    if (!bytes || !r->t->merges)
        return fail(r->err, ERR_MEMORY, "no memory for a tokenizer");
    const uint8_t *at = merges->bytes;
    for (uint32_t rank = 0; rank < merges->count; rank++) {
        const char *text;
        uint64_t size;
        gguf_next_text(&at, &text, &size);
        if (!add_merge(r, rank, text, (size_t)size, bytes))
            return fail_within(r->err, "%s: tokenizer.ggml.merges", r->name);
    }
    return true;
}

static bool set_pre(GgufReading *r, const char *pre, bool *add_bos)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
        const PreRow *row = &pres[i];
        size_t k = 0, names = sizeof row->names / sizeof *row->names;
        while (k < names && row->names[k] && strcmp(row->names[k], pre))
            k++;
        if (k == names || !row->names[k])
            continue;
        for (k = 0; k < sizeof row->patterns / sizeof *row->patterns && row->patterns[k]; k++)
            if (!tokenizer_stages_add(r->t, *row->patterns[k] ? row->patterns[k]
                                                              : pretoken_gpt2_pattern,
                                      r->name, r->err))
                return false;
        r->t->ignore_merges = row->ignore_merges;
        *add_bos = row->add_bos;
        if (row->nfc)
            r->t->normalizer.steps[r->t->normalizer.count++] = (NormalStep){.kind = NORMAL_NFC};
        return true;
    }
    return fail(r->err, ERR_FORMAT, "%s: tokenizer.ggml.pre: '%.40s' is not known here; use the "
                "model's tokenizer.json", r->name, pre);
}

static bool read_gpt2(GgufReading *r)
{
    const char *pre;
    bool add_bos = false, add_eos;
    if (!gguf_get_text(r->gguf, "tokenizer.ggml.pre", "gpt-2", &pre, r->err) ||
        !tokenizer_model_new(&r->t, TOKENIZER_BYTES, r->count, r->err) ||
        !set_pre(r, pre, &add_bos) || !add_tokens(r) || !add_merges(r))
        return false;
    Tokenizer *t = r->t;
    if (!gguf_get_bool(r->gguf, "tokenizer.ggml.add_bos_token", add_bos, &add_bos, r->err) ||
        !gguf_get_bool(r->gguf, "tokenizer.ggml.add_eos_token", false, &add_eos, r->err) ||
        !read_token_id(r, "tokenizer.ggml.bos_token_id", &t->bos) ||
        !read_token_id(r, "tokenizer.ggml.eos_token_id", &t->eos))
        return false;
    if (add_bos && t->bos >= 0)
        t->before[t->before_count++] = t->bos;
    if (add_eos && t->eos >= 0)
        t->after[t->after_count++] = t->eos;
    tokenizer_describe(t, r->name);
    if (!tokenizer_model_finish(t, r->err))
        return fail_within(r->err, "%s", r->name);
    return tokenizer_export(t, r->err);
}

bool tokenizer_gguf_read(Tokenizer **out, const Gguf *gguf, Error *err)
{
    static const struct {
        const char *model;
        bool (*read)(GgufReading *r);
    } models[] = {{"gpt2", read_gpt2}, {"llama", read_llama}, {"t5", read_t5}};
    const char *name = strrchr(gguf_name(gguf), '/'), *model;
    GgufReading r = {.gguf = gguf, .name = name ? name + 1 : gguf_name(gguf), .err = err};
    if (!gguf_get_text(gguf, "tokenizer.ggml.model", "", &model, err))
        return false;
    if (!*model || !strcmp(model, "none"))
        return fail(err, ERR_FORMAT, "%s: it holds no vocabulary (tokenizer.ggml.model)", r.name);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strcmp(model, models[i].model))
            continue;
        if (open_tokens(&r) && models[i].read(&r)) {
            *out = r.t;
            return true;
        }
        tokenizer_free(r.t);
        return false;
    }
    return fail(err, ERR_FORMAT, "%s: tokenizer.ggml.model: '%.40s' is not supported; gpt2, llama "
                "and t5 are", r.name, model);
}
