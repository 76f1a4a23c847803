/* mainjob_publish.c: the main job's model as a publication. */
#include "forge/mainjob_state.h"
#include "forge/publish.h"

bool mainjob_publish(State *s, Error *err)
{
    Publication p = {.workspace = s->job->workspace, .folder = s->model_folder,
                     .name = s->job->name, .dataset = s->job->dataset->name,
                     .dataset_sha256 = s->data_digest, .recipe = s->job->size->name,
                     .seed = s->job->seed, .model = s->model};
    return publish_model(&p, err);
}
