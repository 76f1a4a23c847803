/* tokenizer_stages.h: the parts of tokenizer.json around the model; for src/text only. */
#pragma once
#include "text/tokenizer_model.h"

/* Where the reader is: the object and its path for errors. */
typedef struct {
    Tokenizer *t;
    const char *name, *where;
    Error *err;
} StagePlace;

/* True when the file describes a byte-level model. */
bool tokenizer_stages_bytes(const json_t *root);
/* Reads normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json into t, whose
 * kind and vocab are set. */
bool tokenizer_stages_read(Tokenizer *t, const json_t *root, const char *name,
                           Error *err) MUST_CHECK;
/* Adds one stage that isolates the matches of a pattern. */
bool tokenizer_stages_add(Tokenizer *t, const char *pattern, const char *name,
                          Error *err) MUST_CHECK;

/* ---- shared by tokenizer_stages.c and tokenizer_normal.c ---- */

bool stage_type(const StagePlace *p, const json_t *value, const char **type) MUST_CHECK;
bool stage_unsupported(const StagePlace *p, const char *type); /* false */
bool stage_keys(const StagePlace *p, const json_t *value, const char *const *keys) MUST_CHECK;
/* The member "pattern": one of Regex and String, the other NULL. */
bool stage_pattern(const StagePlace *p, const json_t *value, const json_t **regex,
                   const json_t **literal) MUST_CHECK;
/* A text as a pattern that matches it alone. */
bool stage_quote(const json_t *literal, Buf *quoted, Error *err) MUST_CHECK;
bool normalizer_read(const StagePlace *p, const json_t *value, bool nested) MUST_CHECK;
