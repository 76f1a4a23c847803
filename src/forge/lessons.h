/* lessons.h: from a dataset to the tokens a model learns from; the same rendering is used to ask.
 *
 * A labelled record becomes a dialogue: the user says its text and context, the assistant answers
 * its label. A record's own messages are a second dialogue. For pretraining a record is its text
 * and context as plain text. Test and validation records never enter a training set, nor the
 * tokenizer. Everything is a function of the dataset and the seed. Threads: any, on const data.
 */
#pragma once
#include "base/pool.h"
#include "data/dataset.h"
#include "train/samples.h"

typedef struct {
    uint32_t copies;     /* times each dialogue with a label appears, each with its own omissions */
    double omit;         /* share of the context's lines left out of a copy, at random: [0, 1) */
    uint32_t every_text; /* one in so many records also gives its own messages; 0: none */
    uint64_t seed;
} LessonOptions;

/* Byte-level BPE with the template's special tokens, trained on the training split. */
bool lessons_tokenizer(Tokenizer **out, const Dataset *dataset, const ChatTemplate *chat,
                       uint32_t vocab, uint32_t threads, Error *err) MUST_CHECK;

/* Plain text of one split, each document ended by the template's end marker. */
bool lessons_pretrain(SampleSet *out, const Dataset *dataset, Split split,
                      const Tokenizer *tokenizer, const ChatTemplate *chat, Pool *pool,
                      Error *err) MUST_CHECK;

/* Dialogues of one split. */
bool lessons_finetune(SampleSet *out, const Dataset *dataset, Split split,
                      const Tokenizer *tokenizer, const ChatTemplate *chat,
                      const LessonOptions *options, Error *err) MUST_CHECK;

/* Appends the ids that ask for a record's label, up to the assistant's turn. At most `limit` ids:
 * a longer text is cut at its end. */
bool lessons_question(const Record *record, const Tokenizer *tokenizer, const ChatTemplate *chat,
                      uint32_t limit, Tokens *out, Error *err) MUST_CHECK;
