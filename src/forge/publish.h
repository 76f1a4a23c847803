/* publish.h: a finished model is signed and entered into its workspace. Threads: one. */
#pragma once
#include "format/json.h"
#include "model/model.h"

typedef struct {
    const char *workspace, *folder; /* of the workspace; of the model */
    const char *name, *parent;      /* parent: name of the model it was made from, or NULL */
    const char *dataset, *dataset_sha256, *recipe;
    uint64_t seed;
    const Model *model;
} Publication;

/* Signs the folder with the workspace's key and replaces the workspace's record of that name. */
bool publish_model(const Publication *p, Error *err) MUST_CHECK;

/* WORKSPACE of a folder WORKSPACE/models/NAME, when there is a workspace: true and out is set. */
bool publish_workspace_of(const char *model_folder, char out[1024]);
