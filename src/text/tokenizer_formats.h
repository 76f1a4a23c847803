/* tokenizer_formats.h: the readers of the single formats; for src/text only. */
#pragma once
#include "format/gguf.h"
#include "text/tokenizer_model.h"

bool tokenizer_json_read(Tokenizer **out, const json_t *root, const char *name,
                         Error *err) MUST_CHECK;
/* Unigram in tokenizer.json: what of `model` must be so, and scores and the unknown token of t. */
bool unigram_open(const json_t *model, const char *name, Error *err) MUST_CHECK;
bool unigram_read(Tokenizer *t, const json_t *model, const char *name, Error *err) MUST_CHECK;

/* tokenizer_export.c: what tokenizer.json says around the model, for t that was read from another
 * format; and one more stage of its pre_tokenizer. */
bool tokenizer_export(Tokenizer *t, Error *err) MUST_CHECK;
bool tokenizer_export_split(Tokenizer *t, const char *pattern, Error *err) MUST_CHECK;

/* Fills t->source. */
void tokenizer_describe(Tokenizer *t, const char *name);
/* Names a special token as such, for tokenizer_special and for saving. Room was made for it. */
void tokenizer_add_special(Tokenizer *t, int32_t id);

/* ---- pieces with scores: SentencePiece and GGUF (tokenizer_pieces.c) ---- */

typedef enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_WHOLE, PIECE_UNUSED,
               PIECE_BYTE } PieceType; /* numbers of both formats */

typedef struct {
    const char *text; /* not NUL-terminated */
    size_t size;
    float score;
    PieceType type;
} Piece;

typedef struct {
    const char *name; /* of the file, for errors */
    Piece *pieces;
    uint32_t count;
    bool unigram, byte_fallback;
    bool dummy_prefix, as_suffix, remove_extra, escape;
    const uint8_t *charsmap;
    size_t charsmap_size;
    int32_t bos, eos; /* -1: none */
    bool add_bos, add_eos;
} PieceModel;
bool tokenizer_from_pieces(Tokenizer **out, const PieceModel *model, Error *err) MUST_CHECK;

/* ---- the formats, from memory; `name` is for messages ---- */

/* SentencePiece's ModelProto. */
bool tokenizer_spm_read(Tokenizer **out, const uint8_t *bytes, size_t size, const char *name,
                        Error *err) MUST_CHECK;
/* Mistral's tekken.json. */
bool tokenizer_tekken_read(Tokenizer **out, const json_t *root, const char *name,
                           Error *err) MUST_CHECK;
/* tiktoken's lines of "base64 rank"; the name says which pattern and special tokens belong. */
bool tokenizer_tiktoken_read(Tokenizer **out, const char *text, size_t size, const char *name,
                             Error *err) MUST_CHECK;
bool tokenizer_gguf_read(Tokenizer **out, const Gguf *gguf, Error *err) MUST_CHECK;
/* Whatever of these it is. */
bool tokenizer_read(Tokenizer **out, const uint8_t *bytes, size_t size, const char *name,
                    Error *err) MUST_CHECK;
