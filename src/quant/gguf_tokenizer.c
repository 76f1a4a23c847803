/* gguf_tokenizer.c: the tokenizer in a GGUF file's keys as the files of a folder: "gpt2" becomes
 * tokenizer.json, "llama" (SentencePiece) tokenizer.model; the template and the names of special
 * tokens go into tokenizer_config.json. A tokenizer that is not understood is left out and the
 * source says so: its weights are of use without it. */
#include "quant/pretokens.h"
#include "quant/source_parts.h"

#include "base/mem.h"
#include "format/pieces.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { VOCAB_MAX = 1 << 20, FILE_BYTES_MAX = 64 << 20 };

typedef struct {
    Source *s;
    const Gguf *gguf;
    const GgufValue *tokens, *kinds; /* kinds NULL: all normal */
} Reading;

__attribute__((format(printf, 2, 3))) static bool leave_out(Source *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(s->tokenizer_note, sizeof s->tokenizer_note, format, args);
    va_end(args);
    return true;
}

static PieceKind kind_at(const Reading *r, uint64_t id)
{
    double kind = r->kinds ? gguf_number(r->kinds, id) : PIECE_NORMAL;
    return kind >= 1 && kind < PIECE_KIND_END ? (PieceKind)kind : PIECE_NORMAL;
}

/* ---- byte-level BPE ---- */

/* False: no memory, not UTF-8, or a text twice. */
static bool add_token(json_t *vocab, json_t *added, const char *text, uint64_t bytes,
                      PieceKind kind, uint64_t id)
{
    if (kind == PIECE_UNUSED)
        return true;
    if (kind == PIECE_NORMAL || kind == PIECE_BYTE)
        return !memchr(text, 0, bytes) && !json_object_getn(vocab, text, bytes) &&
               json_object_setn_new(vocab, text, bytes, json_integer((json_int_t)id)) == 0;
    json_t *content = json_stringn(text, bytes);
    json_t *entry = json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id,
                              "content", content, "single_word", 0, "lstrip", 0, "rstrip", 0,
                              "normalized", 0, "special", kind != PIECE_USER);
    return json_array_append_new(added, entry) == 0;
}

static json_t *read_vocab(const Reading *r, json_t *added)
{
    json_t *vocab = json_object();
    const uint8_t *at = r->tokens->bytes;
    for (uint64_t id = 0; vocab && id < r->tokens->count; id++) {
        const char *text;
        uint64_t bytes;
        gguf_next_text(&at, &text, &bytes);
        if (!add_token(vocab, added, text, bytes, kind_at(r, id), id)) {
            json_decref(vocab);
            return NULL;
        }
    }
    return vocab;
}

static json_t *read_merges(const GgufValue *merges)
{
    json_t *list = json_array();
    const uint8_t *at = merges->bytes;
    for (uint64_t i = 0; list && i < merges->count; i++) {
        const char *text;
        uint64_t bytes;
        gguf_next_text(&at, &text, &bytes);
        if (json_array_append_new(list, json_stringn(text, bytes)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static bool make_bpe(const Reading *r, Error *err)
{
    const char *pre;
    const GgufValue *merges = gguf_find(r->gguf, "tokenizer.ggml.merges");
    if (!gguf_get_text(r->gguf, "tokenizer.ggml.pre", "gpt-2", &pre, err))
        return false;
    const PretokenRule *rule = pretoken_named(pre);
    if (!rule)
        return leave_out(r->s, "it cuts text by the rule '%.40s', which is not known here", pre);
    if (!merges || !merges->is_array || merges->type != GGUF_TEXT || merges->count > 4 * VOCAB_MAX)
        return leave_out(r->s, "key 'tokenizer.ggml.merges' is no list of texts");
    auto_json json_t *added = json_array();
    auto_json json_t *vocab = read_vocab(r, added), *list = read_merges(merges);
    auto_json json_t *stage = pretoken_to_json(rule);
    if (!added || !vocab || !list || !stage)
        return leave_out(r->s, "a token is there twice, or is not UTF-8");
    auto_json json_t *file = json_pack(
        "{s:s, s:n, s:n, s:O, s:o?, s:O, s:n, s:{s:s, s:b, s:b, s:b}, s:{s:s, s:n, s:n, s:n, s:n, "
        "s:b, s:b, s:b, s:O, s:O}}", "version", "1.0", "truncation", "padding", "added_tokens",
        added, "normalizer", rule->nfc ? json_pack("{s:s}", "type", "NFC") : NULL,
        "pre_tokenizer", stage, "post_processor", "decoder", "type", "ByteLevel",
        "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1, "model", "type", "BPE", "dropout",
        "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
        "byte_fallback", 0, "ignore_merges", (int)rule->whole_tokens, "vocab", vocab, "merges",
        list);
    auto_buf Buf text;
    buf_init(&text, FILE_BYTES_MAX);
    if (!file)
        return source_fail_memory(r->s, err);
    return json_dump(file, &text, err) &&
           source_add_made(r->s, "tokenizer.json", text.data, text.size, err);
}

/* ---- SentencePiece ---- */

static bool take_special(const Gguf *gguf, const char *key, uint64_t count, int32_t fallback,
                         int32_t *out, Error *err)
{
    uint32_t id;
    *out = fallback < (int64_t)count ? fallback : -1;
    if (!gguf_find(gguf, key))
        return true;
    if (!gguf_need_u32(gguf, key, 0, UINT32_MAX, &id, err))
        return false;
    *out = id < count ? (int32_t)id : -1; /* writers say "none" as a number too large */
    return true;
}

static bool make_pieces(const Reading *r, Error *err)
{
    uint64_t count = r->tokens->count;
    const GgufValue *scores;
    Pieces p = {.model = PIECES_BPE, .byte_fallback = true};
    auto_buf Buf text;
    buf_init(&text, FILE_BYTES_MAX);
    if (!gguf_need_array(r->gguf, "tokenizer.ggml.scores", GGUF_F32, count, count, &scores, err) ||
        !gguf_get_bool(r->gguf, "tokenizer.ggml.add_space_prefix", true, &p.dummy_prefix, err) ||
        !gguf_get_bool(r->gguf, "tokenizer.ggml.remove_extra_whitespaces", false,
                       &p.remove_extra_blanks, err) ||
        !take_special(r->gguf, "tokenizer.ggml.unknown_token_id", count, 0, &p.unknown, err) ||
        !take_special(r->gguf, "tokenizer.ggml.bos_token_id", count, 1, &p.begin, err) ||
        !take_special(r->gguf, "tokenizer.ggml.eos_token_id", count, 2, &p.end, err) ||
        !take_special(r->gguf, "tokenizer.ggml.padding_token_id", count, -1, &p.pad, err))
        return false;
    auto_free Piece *items = mem_alloc(count, sizeof *items);
    if (!items)
        return source_fail_memory(r->s, err);
    const uint8_t *at = r->tokens->bytes;
    for (p.count = 0; p.count < count; p.count++) {
        uint64_t bytes;
        Piece *piece = &items[p.count];
        gguf_next_text(&at, &piece->text, &bytes);
        if (bytes > PIECE_BYTES_MAX)
            return leave_out(r->s, "token %" PRIu32 " has %" PRIu64 " bytes", p.count, bytes);
        piece->bytes = (uint32_t)bytes;
        piece->kind = kind_at(r, p.count);
        piece->score = (float)gguf_number(scores, p.count);
    }
    p.items = items;
    pieces_write_model(&p, &text);
    return buf_ok(&text, "tokenizer.model", err) &&
           source_add_made(r->s, "tokenizer.model", text.data, text.size, err);
}

/* ---- what goes with it ---- */

static json_t *token_text(const Reading *r, const char *key)
{
    const GgufValue *value = gguf_find(r->gguf, key);
    const uint8_t *at = r->tokens->bytes;
    const char *text = NULL;
    uint64_t bytes = 0;
    if (!value || value->is_array || gguf_type_info[value->type].kind > GGUF_SIGNED)
        return NULL;
    double id = gguf_number(value, 0);
    if (id < 0 || id >= (double)r->tokens->count)
        return NULL;
    for (uint64_t i = 0; i <= (uint64_t)id; i++)
        gguf_next_text(&at, &text, &bytes);
    return json_stringn(text, bytes);
}

static bool make_config(const Reading *r, bool pieces, Error *err)
{
    static const char *const keys[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                          {"eos_token", "tokenizer.ggml.eos_token_id"},
                                          {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                          {"pad_token", "tokenizer.ggml.padding_token_id"}};
    const char *template;
    bool begin;
    auto_buf Buf text;
    buf_init(&text, FILE_BYTES_MAX);
    if (!gguf_get_text(r->gguf, "tokenizer.chat_template", "", &template, err) ||
        !gguf_get_bool(r->gguf, "tokenizer.ggml.add_bos_token", pieces, &begin, err))
        return false;
    auto_json json_t *config = json_pack("{s:s, s:b, s:b}", "tokenizer_class",
                                         pieces ? "LlamaTokenizer" : "PreTrainedTokenizerFast",
                                         "add_bos_token", (int)begin, "clean_up_tokenization_spaces",
                                         0);
    bool ok = config != NULL;
    for (size_t i = 0; ok && i < sizeof keys / sizeof *keys; i++) {
        json_t *token = token_text(r, keys[i][1]);
        ok = !token || json_object_set_new(config, keys[i][0], token) == 0;
    }
    if (ok && *template)
        ok = json_object_set_new(config, "chat_template", json_string(template)) == 0;
    if (!ok)
        return source_fail_memory(r->s, err);
    return json_dump(config, &text, err) &&
           source_add_made(r->s, "tokenizer_config.json", text.data, text.size, err);
}

bool gguf_to_tokenizer(Source *s, const Gguf *gguf, Error *err)
{
    const char *model;
    Reading r = {.s = s, .gguf = gguf};
    if (!gguf_get_text(gguf, "tokenizer.ggml.model", "none", &model, err))
        return false;
    if (strcmp(model, "none") == 0 || strcmp(model, "no_vocab") == 0)
        return true;
    bool bpe = strcmp(model, "gpt2") == 0;
    if (!bpe && strcmp(model, "llama") != 0)
        return leave_out(s, "it is of the kind '%.40s', which is not known here", model);
    if (!gguf_need_array(gguf, "tokenizer.ggml.tokens", GGUF_TEXT, 1, VOCAB_MAX, &r.tokens, err))
        return false;
    if (gguf_find(gguf, "tokenizer.ggml.token_type") &&
        !gguf_need_array(gguf, "tokenizer.ggml.token_type", GGUF_I32, r.tokens->count,
                         r.tokens->count, &r.kinds, err))
        return false;
    if (r.tokens->count > s->outline.vocab)
        return fail(err, ERR_FORMAT, "%s: %" PRIu64 " tokens, the model has %" PRIu32,
                    gguf_name(gguf), r.tokens->count, s->outline.vocab);
    return (bpe ? make_bpe(&r, err) : make_pieces(&r, err)) &&
           (*s->tokenizer_note || make_config(&r, !bpe, err));
}
