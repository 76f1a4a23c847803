/* train_job_state.h: what the parts of a training job share. Private to forge/. */
#pragma once
#include "base/hash.h"
#include "forge/lessons.h"
#include "forge/train_job.h"

struct TrainJob {
    TrainRecipe *recipe;
    Dataset *dataset;
    Pool *pool;
    const ChatTemplate *chat;
    Tokenizer *tokenizer; /* of a model to come; NULL once it owns it */
    const Family *family;
    ModelConfig config;
    Model *model;         /* the base; a new one once it is made */
    SampleSet train, valid;
    char dataset_sha256[SHA256_HEX], run_sha256[SHA256_HEX];
    RunOptions options;
    RunPlan plan;
};

const Tokenizer *train_job_tokenizer(const TrainJob *job);

/* train_report.c: RUN/report.html from the log of the run. */
bool train_job_report(const TrainJob *job, const TrainJobResult *result, Error *err);
