/* tokenizer.h: text to token ids and back, as the model's own tokenizer does it.
 *
 * A tokenizer is immutable once made. Read are Hugging Face's tokenizer.json, Mistral's tekken.json,
 * SentencePiece's tokenizer.model, the vocabulary in a GGUF file and tiktoken's rank files; written
 * is tokenizer.json. Ids are those of the format's own program for any valid UTF-8 in which no
 * special token is written; what is not understood in a file is refused by name.
 *
 *   kind      pieces of text are      models
 *   BYTES     bytes, merged           GPT-2, Llama 3, Qwen, Mistral's tekken
 *   CHARS     characters, merged      Llama 2, Mistral v1-v3, Gemma
 *   UNIGRAM   the most probable ones  T5 and its kin
 *
 * Every byte string can be encoded, unless the vocabulary lacks a byte (BYTES) or a character and
 * has no unknown token: then ERR_INPUT names it. decode(encode(x)) == x byte for byte unless the
 * file asks for a change of text (NFC, a first blank, extra blanks removed).
 * Special tokens are never produced from text: tokenizer_encode treats "<|end|>" as six ordinary
 * characters; they enter only as ids (see chat.h). The one exception is the unknown token, for what
 * the vocabulary lacks. Begin and end tokens (tokenizer_frame) are the caller's to place.
 * Threads: all functions on a const Tokenizer are safe from many threads at once.
 */
#pragma once
#include "base/buf.h"
#include "base/pool.h"

#include <stdint.h>

typedef struct Tokenizer Tokenizer;

enum { TOKENIZER_VOCAB_MAX = 1 << 20, TOKENIZER_TOKEN_BYTES_MAX = 1 << 16 };

typedef enum { TOKENIZER_BYTES, TOKENIZER_CHARS, TOKENIZER_UNIGRAM } TokenizerKind;

/* Reads whatever path is: a file of one of the formats above, known by its content (a rank file's
 * pattern by its name: r50k_base, p50k_base, cl100k_base, o200k_base), or a model's folder, of which
 * it takes the first there is: tokenizer.json, tekken.json, tokenizer.model*, the one *.tiktoken,
 * the one *.gguf. tokenizer_source says what was read. ERR_NOT_FOUND: the folder has none of them. */
bool tokenizer_open(Tokenizer **out, const char *path, Error *err) MUST_CHECK;
/* "tekken.json: byte-level BPE, 131072 tokens". */
const char *tokenizer_source(const Tokenizer *tokenizer);

/* Reads tokenizer.json. Errors: ERR_FORMAT naming file and key ("tokenizer.json: model.vocab:
 * id 70000 of 'the' is outside 0..511"). */
bool tokenizer_load(Tokenizer **out, const char *path, Error *err) MUST_CHECK;
bool tokenizer_parse(Tokenizer **out, const char *json, size_t size, const char *name,
                     Error *err) MUST_CHECK;
/* Writes tokenizer.json, whatever was read, such that Hugging Face's tokenizers gives the same ids.
 * ERR_INPUT: the tokenizer does what that format has no words for. */
bool tokenizer_save(const Tokenizer *tokenizer, const char *path, Error *err) MUST_CHECK;
void tokenizer_free(Tokenizer *tokenizer); /* NULL is a no-op */

uint32_t tokenizer_vocab(const Tokenizer *tokenizer);                   /* ids are below this */
TokenizerKind tokenizer_kind(const Tokenizer *tokenizer);
/* A special token by its exact text. */
bool tokenizer_special(const Tokenizer *tokenizer, const char *text, int32_t *id);
bool tokenizer_is_special(const Tokenizer *tokenizer, int32_t id);
/* The bytes of a token in text: " the", one byte of a character (of a special token: its name).
 * NULL for an id without token. */
const char *tokenizer_bytes(const Tokenizer *tokenizer, int32_t id, size_t *size);
/* The begin and end token; -1: the file names none. */
int32_t tokenizer_bos(const Tokenizer *tokenizer);
int32_t tokenizer_eos(const Tokenizer *tokenizer);
/* The ids the file wants before and after a text; both arrays are the tokenizer's. */
void tokenizer_frame(const Tokenizer *tokenizer, const int32_t **before, size_t *before_count,
                     const int32_t **after, size_t *after_count);

/* ---- what another format must be told (quant/gguf_vocab.c) ---- */

uint32_t tokenizer_merges(const Tokenizer *tokenizer);
/* The two tokens that merge `rank` (below tokenizer_merges) joins. */
void tokenizer_merge_at(const Tokenizer *tokenizer, uint32_t rank, int32_t *left, int32_t *right);
/* A token cut out of text before everything else: an added one that is not special. */
bool tokenizer_is_added_text(const Tokenizer *tokenizer, int32_t id);
/* A token as its model writes it: bytes in the byte-level alphabet of GPT-2, or text with U+2581 for
 * a blank and "<0x0A>" for a byte; a special or added one as it is. Appends nothing for an id
 * without token. */
void tokenizer_spell(const Tokenizer *tokenizer, int32_t id, Buf *out);
/* The score of a piece; 0 when the file has none. */
float tokenizer_score(const Tokenizer *tokenizer, int32_t id);
/* Stands for one byte that has no other token. */
bool tokenizer_is_byte(const Tokenizer *tokenizer, int32_t id);
int32_t tokenizer_unknown(const Tokenizer *tokenizer); /* -1: none */
/* True when text is cut by GPT-2's pattern alone: no other stage, no NFC, no first blank, and
 * merges are always obeyed. */
bool tokenizer_is_plain_gpt2(const Tokenizer *tokenizer);

/* A growing list of ids with a maximum, as Buf is for bytes. */
typedef struct {
    int32_t *ids;
    size_t count, room, limit;
    bool failed;
} Tokens;
void tokens_init(Tokens *tokens, size_t limit);
void tokens_add(Tokens *tokens, int32_t id);
void tokens_done(Tokens *tokens);
#define auto_tokens __attribute__((cleanup(tokens_done)))

/* Appends the ids of text. Any bytes; each byte that is not UTF-8 is encoded alone. False:
 * ERR_LIMIT, ERR_MEMORY, ERR_INPUT, and out is as it was. Time is O(size log size) whatever the
 * text; a pattern of a file that is not GPT-2's has a limit of steps for each piece. */
bool tokenizer_encode(const Tokenizer *tokenizer, const char *text, size_t size, Tokens *out,
                      Error *err) MUST_CHECK;
/* The same for a text that a model is to go on with: behind the ids that the file wants before a text
 * (tokenizer_frame). */
bool tokenizer_encode_prompt(const Tokenizer *tokenizer, const char *text, size_t size, Tokens *out,
                             Error *err) MUST_CHECK;
/* Encodes documents side by side: appends the ids of all, in order, and sets offsets[0..count]:
 * document i is out->ids[offsets[i]..offsets[i + 1]). each(user, i, &text, &size) gives document i
 * and is called from any thread. pool NULL: the calling thread alone. The result does not depend on
 * the number of threads. With GPT-2's pattern long documents are shared among threads too. */
bool tokenizer_encode_many(const Tokenizer *tokenizer, Pool *pool, size_t count,
                           void (*each)(void *user, size_t i, const char **text, size_t *size),
                           void *user, Tokens *out, size_t *offsets, Error *err) MUST_CHECK;
/* Appends the bytes of ids, which begin a text: the blank that some models put in front of every
 * text is taken off. Special tokens are skipped unless `with_special`. ERR_INPUT: an id without
 * token. */
bool tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, size_t count,
                      bool with_special, Buf *out, Error *err) MUST_CHECK;

/* Streaming: bytes of tokens come in, whole UTF-8 characters go out; bytes that can never become a
 * character leave as U+FFFD. detok_end flushes. */
typedef struct {
    uint8_t held[4];
    uint32_t count, strip; /* strip: blanks still to be taken off the front */
} Detok;
void detok_init(Detok *detok);
/* As detok_init for tokens that begin a text: the blank that tokenizer_decode takes off is. */
void detok_begin(Detok *detok, const Tokenizer *tokenizer);
void detok_add(Detok *detok, const char *bytes, size_t size, Buf *out);
void detok_end(Detok *detok, Buf *out);

/* ---- training ---- */

typedef struct {
    uint32_t vocab;               /* final size, special tokens and 256 bytes included */
    const char *const *special;   /* ids 0, 1, ... in this order */
    uint32_t special_count;
    uint32_t token_bytes_max;     /* longest token a merge may make; 0: 64 */
    uint32_t threads;             /* 0: all */
} TokenizerTraining;

/* Ids: the special tokens, the 256 bytes in the order of the byte-level alphabet (printable ones
 * first, as GPT-2 and Hugging Face have them), the merges by rank. Special tokens written in the
 * text are text. Byte-level BPE over documents with the GPT-2 pattern. Deterministic: the most
 * frequent pair wins, ties go to the lexicographically greater pair of byte strings (first, then
 * second). Fewer possible merges than asked: a smaller vocabulary, no error.
 * each(user, i, &text, &size) gives document i of count and is called from any thread. */
bool tokenizer_train(Tokenizer **out, const TokenizerTraining *options, size_t count,
                     void (*each)(void *user, size_t i, const char **text, size_t *size),
                     void *user, Error *err) MUST_CHECK;
