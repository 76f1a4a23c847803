/* gguf_vocab.h: the tokenizer and template of a model as keys of a GGUF file; see gguf_export.h.
 * Errors: ERR_INPUT for a tokenizer that the format cannot tell, ERR_MEMORY, ERR_LIMIT. */
#pragma once
#include "format/gguf.h"
#include "model/model.h"

bool gguf_vocab_add(GgufWriter *w, const Model *model, Error *err) MUST_CHECK;
