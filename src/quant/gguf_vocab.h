/* gguf_vocab.h: the tokenizer and template of a checkpoint as keys of a GGUF file.
 *
 * tokenizer.json (byte-level BPE) becomes "gpt2" with the name of its rule for cutting text, when
 * that rule is in pretokens.h; tokenizer.model (SentencePiece BPE) becomes "llama". Ids without token,
 * up to the vocabulary of the model, are named "[PAD<id>]" and marked unused.
 * Errors: ERR_INPUT for a tokenizer that the format cannot tell, ERR_FORMAT, ERR_MEMORY, ERR_LIMIT. */
#pragma once
#include "format/gguf.h"
#include "quant/source.h"

bool gguf_vocab_add(GgufWriter *w, const Source *source, Error *err) MUST_CHECK;
