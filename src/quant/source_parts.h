/* source_parts.h: what the openers of the layouts share. Private to quant/. */
#pragma once
#include "quant/source.h"

/* Adds a file to read data from; *index names it. */
bool source_add_file(Source *s, const char *path, uint32_t *index, Error *err) MUST_CHECK;
/* Room for one more tensor; its name is copied, all else is the caller's to fill. NULL: err. */
SourceTensor *source_add_tensor(Source *s, const char *name, Error *err);
/* Fills rank, rows, columns, bytes from the shape and type that are set. */
bool tensor_measure(SourceTensor *t, Error *err) MUST_CHECK;
/* Reads the outline from s->config; checks every tensor the table knows against it, marks those that
 * are turned (and stand as neighbours, when the layout has them so), refuses doubles, and a model
 * that lacks a tensor. */
bool source_finish(Source *s, bool neighbours, Error *err) MUST_CHECK;
/* Files beside a checkpoint that belong to it, of the names of a table. */
bool source_add_beside(Source *s, const char *folder, Error *err) MUST_CHECK;
/* A file made here; the bytes are copied. */
bool source_add_made(Source *s, const char *name, const char *bytes, size_t size,
                     Error *err) MUST_CHECK;
bool source_fail_memory(const Source *s, Error *err);

bool source_open_hf(Source *s, Error *err) MUST_CHECK;
bool source_open_native(Source *s, Error *err) MUST_CHECK;
bool source_open_gguf(Source *s, Error *err) MUST_CHECK;
bool source_open_llama2c(Source *s, Error *err) MUST_CHECK;

/* ---- configurations ---- */

/* params.json of Mistral to config.json and back. *pictures: it has a part for pictures. */
bool native_to_config(const json_t *params, json_t **config, bool *pictures, Error *err) MUST_CHECK;
bool native_of_config(const Source *s, json_t **params, Error *err) MUST_CHECK;
/* The keys of a GGUF file to config.json. */
bool gguf_to_config(const Gguf *gguf, json_t **config, Error *err) MUST_CHECK;
/* The tokenizer in a GGUF file's keys as files. */
bool gguf_to_tokenizer(Source *s, const Gguf *gguf, Error *err) MUST_CHECK;
