/* train_job.h: a training recipe carried out: data, model, run, model folder, report.
 *
 * train_job_open does what planning and training share: reads the data and the base, trains the
 * tokenizer, resolves the recipe. Killed anywhere, the same job with `resume` goes on from the
 * newest checkpoint of its run folder and ends in the same bits. A model that will be trained is
 * made only when training begins; a plan alone takes little memory.
 * Threads: one.
 */
#pragma once
#include "forge/train_recipe.h"
#include "train/run.h"

typedef struct TrainJob TrainJob;

typedef struct {
    RunPlan run;
    uint64_t steps, parameters, data_tokens, valid_tokens, data_bytes;
    double seconds;        /* expected for all updates */
    const char *seconds_by; /* how: "3 timed updates", or "arithmetic at half of the peak" */
} TrainJobPlan;

typedef struct {
    RunResult run;
    uint64_t peak_bytes;
    bool is_signed; /* in its workspace */
} TrainJobResult;

/* recipe has passed train_recipe_check; it is completed in place and must outlive the job. */
bool train_job_open(TrainJob **out, TrainRecipe *recipe, Error *err) MUST_CHECK;
void train_job_close(TrainJob *job); /* NULL is a no-op */

/* peak_flops: of the machine. ERR_LIMIT naming the setting that would fit. Writes nothing. */
bool train_job_plan(TrainJob *job, double peak_flops, TrainJobPlan *out, Error *err) MUST_CHECK;

/* Errors as run_train, and those of writing model and report. */
bool train_job_run(TrainJob *job, bool resume, const RunWatch *watch, TrainJobResult *out,
                   Error *err) MUST_CHECK;
