/* convert_parts.h: what the sinks share. Private to quant/. */
#pragma once
#include "base/pool.h"
#include "quant/convert.h"

/* One tensor to write. */
typedef struct {
    const SourceTensor *from;
    const StoredType *as;
    bool neighbours; /* turned rows are written as neighbours of a head */
    const float *importance; /* [columns] of values that go into blocks; NULL: all alike */
} ConvertItem;

typedef struct {
    const Source *source;
    const ConvertOptions *options;
    SourceReader reader;
    uint8_t *block;       /* a block in any type, or as f32 with room behind for its types of blocks */
    Pool *pool;           /* NULL: no type asked for takes work */
    ConvertProgress progress;
} ConvertRun;

bool run_begin(ConvertRun *run, const Source *source, const ConvertOptions *options,
               uint64_t total, Error *err) MUST_CHECK;
void run_end(ConvertRun *run);
/* Streams one tensor: put(user, bytes, size) gets its blocks. */
bool run_copy(ConvertRun *run, const ConvertItem *item,
              bool (*put)(void *user, const void *bytes, uint64_t size, Error *err), void *user,
              Error *err) MUST_CHECK;

/* The type a tensor has in safetensors. */
const StoredType *type_in_safetensors(const SourceTensor *t, const StoredType *asked);
bool type_is_exact(const SourceTensor *t, const StoredType *as);
/* "X.tmp-123", a new folder; and its end: renamed to path when ok, removed when not. */
bool folder_begin(const char *path, char temporary[1100], Error *err) MUST_CHECK;
bool folder_end(const char *temporary, const char *path, bool ok, Error *err) MUST_CHECK;
/* The files that belong to the model. */
bool folder_add_extras(const Source *s, const char *folder, Error *err) MUST_CHECK;

bool sink_hf(const Source *s, const char *path, const ConvertOptions *options,
             ConvertResult *result, Error *err) MUST_CHECK;
bool sink_native(const Source *s, const char *path, const ConvertOptions *options,
                 ConvertResult *result, Error *err) MUST_CHECK;
bool sink_gguf(const Source *s, const char *path, const ConvertOptions *options,
               ConvertResult *result, Error *err) MUST_CHECK;
