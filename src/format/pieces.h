/* pieces.h: the vocabulary of a SentencePiece tokenizer as a list of pieces, from and to its files.
 *
 * Two files hold one: `tokenizer.model` (a protobuf, ModelProto) and llama2.c's `tokenizer.bin`
 * (u32 longest; per piece f32 score, u32 bytes, text, with blanks for U+2581 and the begin and end
 * tokens as "\n<s>\n" and "\n</s>\n"). GGUF's keys hold the same list. What is read of a ModelProto:
 * pieces {text, score, kind}, trainer_spec {model_type, unk, bos, eos, pad ids, byte_fallback},
 * normalizer_spec {add_dummy_prefix, remove_extra_whitespaces, whether it has a charsmap}; other
 * fields are passed over, and are lost when the list is written again: copy a file that is not to
 * change. This unit does not encode text; text/ does.
 *
 * Errors: ERR_FORMAT "file: piece 7: what", ERR_LIMIT, ERR_MEMORY. Threads: one.
 */
#pragma once
#include "base/buf.h"

#include <stdint.h>

enum { PIECES_MAX = 1 << 20, PIECES_BYTES_MAX = 64 << 20, PIECE_BYTES_MAX = 1 << 12 };

/* The numbers are those of SentencePiece, and of GGUF. */
typedef enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE,
               PIECE_KIND_END } PieceKind;
typedef enum { PIECES_UNIGRAM = 1, PIECES_BPE = 2 } PiecesModel;

typedef struct {
    const char *text; /* UTF-8; not NUL-terminated */
    uint32_t bytes;
    PieceKind kind;
    float score;
} Piece;

typedef struct {
    Piece *items;
    uint32_t count;
    PiecesModel model;
    int32_t unknown, begin, end, pad; /* ids; -1: none */
    bool byte_fallback, dummy_prefix, remove_extra_blanks, charsmap;
    Buf texts; /* owns the texts when they are not those of the caller's bytes */
} Pieces;

/* The texts point into the bytes, which must outlive the list. */
bool pieces_parse_model(Pieces *out, const uint8_t *bytes, size_t size, const char *name,
                        Error *err) MUST_CHECK;
/* llama2.c's file; its texts are copied. Ids 0, 1, 2 are unknown, begin, end. */
bool pieces_parse_llama2c(Pieces *out, const uint8_t *bytes, size_t size, const char *name,
                          Error *err) MUST_CHECK;
/* Appends a ModelProto. */
void pieces_write_model(const Pieces *pieces, Buf *out);
void pieces_done(Pieces *pieces); /* a zeroed list is a no-op */
