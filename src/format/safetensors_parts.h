/* safetensors_parts.h: what reading and writing share. Private to format/. */
#pragma once
#include "format/safetensors.h"

#define ST_METADATA_KEY "__metadata__"

/* Product of the shape and the item size; false when it does not fit 64 bits. */
bool safetensors_shape_bytes(const StTensor *tensor, uint64_t *out);
/* Without a control character. */
bool safetensors_name_is_clean(const char *name);
