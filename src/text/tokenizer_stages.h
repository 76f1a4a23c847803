/* tokenizer_stages.h: the parts of tokenizer.json around the model; for src/text only. */
#pragma once
#include "text/tokenizer_model.h"

/* Reads normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json into t. */
bool tokenizer_stages_read(Tokenizer *t, const json_t *root, const char *name,
                           Error *err) MUST_CHECK;
