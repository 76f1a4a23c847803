/* ref.h: the reference kernels: each op as its formula says, in double, obvious and slow.
 * They are the specification that every other kernel is tested against. Private to backend/ref. */
#pragma once
#include "backend/backend.h"

void ref_embed(const Exec *x, const Node *node);
void ref_embed_back(const Exec *x, const Node *node);
void ref_matmul(const Exec *x, const Node *node);
void ref_add(const Exec *x, const Node *node);
void ref_mul(const Exec *x, const Node *node);
void ref_scale(const Exec *x, const Node *node);
void ref_rms_norm(const Exec *x, const Node *node);
void ref_rms_norm_back(const Exec *x, const Node *node);
void ref_rope(const Exec *x, const Node *node);
void ref_swiglu(const Exec *x, const Node *node);
void ref_swiglu_back(const Exec *x, const Node *node);
void ref_attention(const Exec *x, const Node *node);
void ref_attention_back(const Exec *x, const Node *node);
void ref_cache_write(const Exec *x, const Node *node);
void ref_attention_cached(const Exec *x, const Node *node);
void ref_xent(const Exec *x, const Node *node);
void ref_xent_grad(const Exec *x, const Node *node);
void ref_bias(const Exec *x, const Node *node);
void ref_bias_back(const Exec *x, const Node *node);
void ref_position_scale(const Exec *x, const Node *node);
void ref_route(const Exec *x, const Node *node);
void ref_route_back(const Exec *x, const Node *node);
void ref_expert_matmul(const Exec *x, const Node *node);
void ref_expert_matmul_back(const Exec *x, const Node *node);
void ref_expert_sum(const Exec *x, const Node *node);
void ref_expert_sum_back(const Exec *x, const Node *node);
