/* model_show.h: `bastide model show`: what a checkpoint of any layout holds. Private to cmd_model.c. */
#pragma once
#include "base/error.h"

typedef struct {
    bool json, print_template, hash; /* hash: a digest of every tensor */
} ShowOptions;

bool model_show(const char *path, const ShowOptions *options, Error *err);
