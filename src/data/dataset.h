/* dataset.h: records in, one validated shape out.
 *
 * A dataset on disk is a JSONL file, one object per line:
 *   {"text": "...", "context": "...", "label": "net", "group": "openssl", "id": "libssl3"}
 *   {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
 * text: what a person would read; context (optional): what else is known about the record and may
 * be used by the model; label (optional): the answer of the classification task; group (optional):
 * records of one group never straddle train and test (absent: the text itself); id for reports.
 * Unknown keys, a record with neither text nor messages, a non-string, invalid UTF-8: ERR_FORMAT
 * "file:line: ...". Records share one arena; they live as long as the Dataset.
 */
#pragma once
#include "base/mem.h"
#include "text/chat.h"

typedef enum { SPLIT_TRAIN, SPLIT_VALID, SPLIT_TEST, SPLIT_COUNT } Split;
extern const char *const split_names[SPLIT_COUNT];

typedef struct {
    const char *text;           /* "" when only messages */
    const char *context;        /* "" when absent */
    const char *label;          /* NULL when absent */
    const char *group, *id;     /* never NULL */
    ChatMessage *messages;      /* extra samples to fine-tune on; NULL when absent */
    uint32_t message_count;
    Split split;
} Record;

typedef struct {
    Arena arena;
    Record *records;
    size_t count, room;
    const char **labels;        /* sorted by bytes, unique */
    uint32_t label_count;
    char name[128];             /* "debian-catalogue", or the file's name */
    uint8_t digest[32];         /* SHA-256 of the canonical JSONL */
} Dataset;

enum { DATASET_RECORDS_MAX = 50000000, DATASET_LINE_MAX = 1 << 20, DATASET_LABELS_MAX = 4096 };

/* Reads path: a .jsonl file, or a folder (each sub-folder is a label holding text files; or text
 * files without labels). Then splits. */
bool dataset_load(Dataset **out, const char *path, uint64_t seed, Error *err) MUST_CHECK;
bool dataset_save(const Dataset *dataset, const char *path, Error *err) MUST_CHECK; /* canonical */
void dataset_free(Dataset *dataset);

/* The one importer that knows the Debian package catalogue: reads the output of
 * `apt-cache dumpavail` from a file. */
bool dataset_import_catalogue(Dataset **out, const char *path, uint64_t seed,
                              Error *err) MUST_CHECK;

/* Assigns splits by hash of (seed, group): 90 % train, 5 % valid, 5 % test of groups. */
void dataset_split(Dataset *dataset, uint64_t seed);
