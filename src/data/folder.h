/* folder.h: text files as a dataset; the rules are those of dataset_load. */
#pragma once
#include "data/dataset.h"

bool folder_load(Dataset **out, const char *path, uint64_t seed, Error *err) MUST_CHECK;
