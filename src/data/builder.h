/* builder.h: the one way a Dataset comes to be, whatever its source.
 *
 * builder_new, any number of builder_add, then builder_finish (or builder_free on failure). Each
 * record is checked, copied into the dataset's arena and hashed in its canonical form on the way,
 * so that nothing is passed over twice. Threads: one at a time.
 */
#pragma once
#include "base/buf.h"
#include "data/dataset.h"

typedef struct Builder Builder;

/* path or name of the source; Dataset.name is its last part without ".jsonl", ".ndjson", ".txt". */
bool builder_new(Builder **out, const char *source, Error *err) MUST_CHECK;
void builder_free(Builder *builder); /* NULL is a no-op */

/* Copies a draft: NULL text, context, label, group, id, messages mean absent. Texts are UTF-8 by
 * contract of the caller. ERR_FORMAT for an empty record, a bad label or messages out of turn;
 * ERR_LIMIT; the sentence does not name the place: the caller puts it before with fail_within. */
bool builder_add(Builder *builder, const Record *draft, Error *err) MUST_CHECK;
void builder_skip(Builder *builder); /* counts a record that was left out */

/* Sorts labels, takes the digest, splits by seed. On success the builder is gone. ERR_INPUT when
 * there is no record at all. */
bool builder_finish(Builder *builder, uint64_t seed, Dataset **out, Error *err) MUST_CHECK;

/* Appends the canonical line of the record at this position (from 0), with its newline. */
bool builder_canonical_line(const Record *record, size_t position, Buf *out, Error *err) MUST_CHECK;

/* True when the bytes are well-formed UTF-8 without NUL. */
bool builder_is_text(const void *bytes, size_t size);
