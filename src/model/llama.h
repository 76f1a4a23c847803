/* llama.h: the Llama family's rows; see model.h. Private to model/. */
#pragma once
#include "model/model.h"

#include <string.h>

void llama_build(Graph *g, const ModelConfig *config, const BuildSpec *spec, ModelPorts *out);
/* A model with weights laid out but not set (model.c), for the loader. */
bool model_shell(Model **out, const Family *family, const ModelConfig *config, const char *name,
                 Error *err) MUST_CHECK;
extern const Family family_llama, family_mistral;
