/* op_rows.h: the functions that rows of the op table point to, by the file they stand in.
 * Private to tensor/. */
#pragma once
#include "tensor/graph.h"

/* grad.c: append the gradient of node `index`. */
bool grad_embed(Graph *g, uint32_t index);
bool grad_matmul(Graph *g, uint32_t index);
bool grad_add_op(Graph *g, uint32_t index);
bool grad_mul(Graph *g, uint32_t index);
bool grad_scale(Graph *g, uint32_t index);
bool grad_rms_norm(Graph *g, uint32_t index);
bool grad_rope(Graph *g, uint32_t index);
bool grad_swiglu(Graph *g, uint32_t index);
bool grad_attention(Graph *g, uint32_t index);
bool grad_xent(Graph *g, uint32_t index);
bool grad_bias(Graph *g, uint32_t index);
bool grad_position_scale(Graph *g, uint32_t index);
bool grad_route(Graph *g, uint32_t index);
bool grad_expert_matmul(Graph *g, uint32_t index);
bool grad_expert_sum(Graph *g, uint32_t index);

/* op_sample.c: record a random legal instance. */
void sample_embed(Graph *g, uint64_t seed);
void sample_matmul(Graph *g, uint64_t seed);
void sample_pair(Graph *g, uint64_t seed);
void sample_pair_mul(Graph *g, uint64_t seed);
void sample_pair_swiglu(Graph *g, uint64_t seed);
void sample_scale(Graph *g, uint64_t seed);
void sample_rms_norm(Graph *g, uint64_t seed);
void sample_rope(Graph *g, uint64_t seed);
void sample_attention(Graph *g, uint64_t seed);
void sample_cache_write(Graph *g, uint64_t seed);
void sample_attention_cached(Graph *g, uint64_t seed);
void sample_xent(Graph *g, uint64_t seed);
void sample_embed_back(Graph *g, uint64_t seed);
void sample_rms_norm_back(Graph *g, uint64_t seed);
void sample_swiglu_back(Graph *g, uint64_t seed);
void sample_attention_back(Graph *g, uint64_t seed);
void sample_xent_grad(Graph *g, uint64_t seed);
void sample_bias(Graph *g, uint64_t seed);
void sample_position_scale(Graph *g, uint64_t seed);
void sample_route(Graph *g, uint64_t seed);
void sample_expert_matmul(Graph *g, uint64_t seed);
void sample_expert_sum(Graph *g, uint64_t seed);
void sample_bias_back(Graph *g, uint64_t seed);
void sample_route_back(Graph *g, uint64_t seed);
void sample_expert_matmul_back(Graph *g, uint64_t seed);
void sample_expert_sum_back(Graph *g, uint64_t seed);
