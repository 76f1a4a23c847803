/* dataset.h: records in, one validated shape out.
 *
 * A dataset on disk is a JSONL file, one object per line:
 *   {"text": "...", "context": "...", "label": "net", "group": "openssl", "id": "libssl3"}
 *   {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
 * text: what a person would read; context (optional): what else is known about the record and may
 * be used by the model; label (optional): the answer of the classification task; group (optional):
 * records of one group never straddle train and test (absent: the text itself, or the first
 * message of a user); id for reports (absent: "#12" for the twelfth record). A message may carry
 * "muted": true, which keeps an assistant's turn out of the loss. A key that is null is absent.
 *
 * Unknown keys, a record with neither text nor messages, a non-string, invalid UTF-8, NUL, messages
 * out of turn: ERR_FORMAT "file:line: ...". Over a maximum below: ERR_LIMIT, same form.
 *
 * The canonical form is one compact line per record with the keys in the order of the first example
 * and messages last; what equals its default is left out. Its SHA-256 is the dataset's digest, so
 * that spacing, key order and blank lines of a file do not matter, and loading what was saved gives
 * the same digest. The seed moves the splits only, never the digest.
 *
 * Records share one arena; they live as long as the Dataset. Threads: read-only once built.
 */
#pragma once
#include "base/mem.h"
#include "text/chat.h"

typedef enum { SPLIT_TRAIN, SPLIT_VALID, SPLIT_TEST, SPLIT_COUNT } Split;
extern const char *const split_names[SPLIT_COUNT]; /* "train", "valid", "test" */

typedef struct {
    const char *text;           /* "" when only messages */
    const char *context;        /* "" when absent */
    const char *label;          /* NULL when absent; else one of Dataset.labels, same pointer */
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
    size_t skipped;             /* left out by an importer or loader: no label, no words */
    char name[128];             /* "debian-catalogue", or the file's name without its ending */
    uint8_t digest[32];         /* SHA-256 of the canonical JSONL */
} Dataset;

enum {
    DATASET_RECORDS_MAX = 50000000,
    DATASET_LINE_MAX = 1 << 20,     /* bytes of one canonical line, and of one line of a file */
    DATASET_LABELS_MAX = 4096,
    DATASET_LABEL_BYTES_MAX = 128,
    DATASET_MESSAGES_MAX = 1024,    /* of one record */
    DATASET_PIECE_BYTES = 32 << 10, /* a longer text file without label is cut, see below */
};
#define DATASET_MEMORY_MAX ((size_t)64 << 30) /* bytes of all records together */

/* Reads path, then splits:
 *  - a .jsonl file;
 *  - a folder of sub-folders: each is a label, its files are the records (id "label/file");
 *  - a folder of text files, or one .txt file: records without labels. A file longer than
 *    DATASET_PIECE_BYTES is cut, at a blank line where there is one, else at a line's end, else
 *    between characters, into records "file#1", "file#2" ..., each a group of its own.
 * Names that begin with '.' are passed over; blank files are counted in `skipped`. Files are UTF-8
 * without NUL; a folder inside a label, or files beside label folders: ERR_INPUT. */
bool dataset_load(Dataset **out, const char *path, uint64_t seed, Error *err) MUST_CHECK;

/* As dataset_load, but a bad line of a .jsonl file does not end the reading: each(user, problem) is
 * told of every one, until it returns false. Then ERR_FORMAT "file: 3 lines are wrong". */
typedef struct {
    bool (*each)(void *user, const Error *problem);
    void *user;
    uint64_t lines; /* wrong ones seen */
} DatasetProblems;
bool dataset_check(Dataset **out, const char *path, uint64_t seed, DatasetProblems *problems,
                   Error *err) MUST_CHECK;

/* As dataset_load of a .jsonl file with these bytes; name: for messages and Dataset.name. */
bool dataset_parse(Dataset **out, const void *bytes, size_t size, const char *name, uint64_t seed,
                   Error *err) MUST_CHECK;

/* Writes the canonical form: a file whose SHA-256 is dataset->digest. */
bool dataset_save(const Dataset *dataset, const char *path, Error *err) MUST_CHECK;
void dataset_free(Dataset *dataset); /* NULL is a no-op */

/* The one importer that knows the Debian package catalogue: reads the output of
 * `apt-cache dumpavail` from a file. What becomes of it: see catalogue.h. */
bool dataset_import_catalogue(Dataset **out, const char *path, uint64_t seed,
                              Error *err) MUST_CHECK;

/* Assigns splits by hash of (seed, group): 90 % train, 5 % valid, 5 % test of groups. A record's
 * split depends on nothing else, so a dataset that grows keeps its test records. */
void dataset_split(Dataset *dataset, uint64_t seed);

/* Position of a label in dataset->labels, or label_count when it is none of them (or NULL). */
uint32_t dataset_label_index(const Dataset *dataset, const char *label);

/* Records in each split. */
void dataset_count_splits(const Dataset *dataset, size_t counts[SPLIT_COUNT]);
