/* train_recipe.h: what a training recipe says: one table binds, checks, prints and documents it.
 *
 * Reading a recipe and completing it are two steps: train_recipe_read takes the words as they are,
 * options of a command line may then replace single keys (recipe_set with train_recipe_table), and
 * train_recipe_check holds the whole together and fills in what follows from other keys. What needs
 * the data (the number of updates of so many epochs) is resolved by train_job.h.
 * docs/recipe.md is made from the table. Threads: as recipe.h.
 */
#pragma once
#include "data/dataset.h"
#include "format/recipe.h"
#include "model/model.h"

typedef enum { TRAIN_PRETRAIN, TRAIN_FINETUNE } TrainMethod;
typedef enum { SPLIT_BY_GROUP, SPLIT_TAIL } SplitRule;

typedef struct {
    const char *name, *base, *out, *run, *memory;
    TrainMethod method;
    struct {
        const char *path;
        SplitRule split;
        uint64_t seed;
        uint32_t copies, every_text;
        double omit;
    } data;
    struct {
        bool bytes;
        uint32_t vocab;
    } tokenizer;
    struct {
        const char *family;
        uint32_t layers, width, heads, kv_heads, ff_width, context, window;
        double eps, theta;
        bool tied;
    } model;
    struct {
        uint32_t row_tokens, rows, windows, recompute, threads, keep, schedule, precision;
        uint64_t steps, seed, checkpoint_every, evaluate_every;
        double epochs, rate, warmup, floor, decay_share, beta1, beta2, eps, decay, clip;
    } train;
    struct {
        uint32_t rank;
        double alpha;
        const char *targets;
    } lora;
    uint64_t memory_bytes; /* of `memory`; 0: what the machine has */
} TrainRecipe;

extern const RecipeTable train_recipe_table;
extern const char *const train_method_names[];   /* by TrainMethod, NULL-terminated */
extern const char *const train_schedule_names[]; /* by TrainRecipe.train.schedule, likewise */

/* Parses and binds. Texts of *out live as long as *file, which the caller releases. */
bool train_recipe_read(TrainRecipe *out, Recipe *file, const char *path, Error *err) MUST_CHECK;

/* Errors: ERR_INPUT naming the keys that do not go together. */
bool train_recipe_check(TrainRecipe *recipe, Error *err) MUST_CHECK;

/* Appends the page docs/recipe.md. */
bool train_recipe_document(Buf *out, Error *err) MUST_CHECK;

/* The last tenth of the text, in the order of the records, becomes the validation split and all
 * before it the training split. A plain text across the border is cut there; other records stay
 * whole. The dataset's digest is that of what was loaded. */
bool train_split_tail(Dataset *dataset, Error *err) MUST_CHECK;
