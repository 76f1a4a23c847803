/* engine.c: continuous batching over the stepper; see engine.h.
 *
 * Invariants: a running request owns one sequence; its ids[0..fed) have keys and values in the
 * cache; total - fed is 1 while decoding and the rest of the prompt while prefilling. One step
 * takes one token of every decoding request first, then chunks of prompts while room is left, and
 * starts with another sequence each time so that none starves.
 */
#include "infer/engine_parts.h"

#include "base/mem.h"
#include "infer/sampler_options.h"

#include <assert.h>
#include <string.h>

enum { DEFAULT_SEQUENCES = 8, DEFAULT_QUEUE = 256, DEFAULT_BATCH = 256 };

/* ---- opening ---- */

static bool weights_type(const char *name, DType *out, Error *err)
{
    *out = DT_F32;
    if (!name || (dtype_named(name, out) && (*out == DT_F32 || *out == DT_Q8_0)))
        return true;
    return fail(err, ERR_INPUT, "weights '%s' cannot be served; choose f32 or q8_0", name);
}

static bool make_stepper(Engine *e, Error *err)
{
    EngineOptions *o = &e->options;
    uint32_t own = e->model->config.context;
    if (o->context > own)
        return fail(err, ERR_INPUT, "a context of %u is over the model's own, %u", o->context, own);
    o->context = o->context ? o->context : own;
    o->sequences_max = o->sequences_max ? o->sequences_max : DEFAULT_SEQUENCES;
    o->queue_max = o->queue_max ? o->queue_max : DEFAULT_QUEUE;
    o->batch_tokens = o->batch_tokens ? o->batch_tokens : DEFAULT_BATCH;
    if (o->batch_tokens < o->sequences_max)
        o->batch_tokens = o->sequences_max;
    StepperOptions options = {.threads = o->threads, .context = o->context,
                              .sequences = o->sequences_max, .batch_tokens = o->batch_tokens,
                              .rows = o->sequences_max};
    return (o->load || weights_type(o->weights, &options.weights, err)) &&
           stepper_new(&e->stepper, e->model, &options, err);
}

static bool set_up(Engine *e, Error *err)
{
    const EngineOptions *o = &e->options;
    if (o->load ? !o->load(&e->model, o->model, o->weights, err)
                : !model_load(&e->model, o->model, err))
        return false;
    if (!e->model->tokenizer)
        return fail(err, ERR_NOT_FOUND, "'%s' has no tokenizer: text needs one",
                    e->options.model);
    if (!make_stepper(e, err))
        return false;
    e->info = (EngineInfo){.name = e->model->name, .context = e->options.context,
                           .vocab = e->model->config.vocab,
                           .parameters = model_parameters(e->model),
                           .bytes_planned = stepper_bytes(e->stepper)};
    weights_free(&e->model->weights);
    e->running = mem_alloc(e->options.sequences_max, sizeof *e->running);
    e->entries = mem_alloc(e->options.batch_tokens, sizeof *e->entries);
    if (!e->running || !e->entries)
        return fail(err, ERR_MEMORY, "no memory for an engine");
    if (!sampler_new(&e->sampler, e->info.vocab, e->options.context, err))
        return false;
    e->queue_end = &e->queue;
    e->next_handle = 1;
    return true;
}

bool engine_open(Engine **out, const EngineOptions *options, EngineEvents events, Error *err)
{
    Engine *e = mem_alloc(1, sizeof *e);
    if (!e)
        return fail(err, ERR_MEMORY, "no memory for an engine");
    e->options = *options;
    e->events = events;
    if (!set_up(e, err)) {
        engine_close(e);
        return false;
    }
    *out = e;
    return true;
}

static void request_free(Request *r)
{
    if (!r)
        return;
    answer_done(&r->answer);
    mem_free(r->bias);
    mem_free(r->breaks);
    mem_free(r->ids);
    mem_free(r);
}

void engine_close(Engine *e)
{
    if (!e)
        return;
    for (uint32_t i = 0; e->running && i < e->options.sequences_max; i++)
        request_free(e->running[i]);
    for (Request *r = e->queue, *next; r; r = next) {
        next = r->next;
        request_free(r);
    }
    stepper_free(e->stepper);
    model_free(e->model);
    mem_free(e->running);
    mem_free(e->entries);
    sampler_free(e->sampler);
    mem_free(e);
}

EngineInfo engine_info(const Engine *e)
{
    return e->info;
}

const Tokenizer *engine_tokenizer(const Engine *e)
{
    return e->model->tokenizer;
}

const ChatTemplate *engine_template(const Engine *e)
{
    return e->model->chat;
}

/* ---- requests ---- */

static bool check_request(const Engine *e, const EngineRequest *request, Error *err)
{
    if (request->prompt_count == 0)
        return fail(err, ERR_INPUT, "the prompt is empty");
    if (request->prompt_count >= e->options.context)
        return fail(err, ERR_LIMIT, "the prompt has %u tokens and leaves no room for an answer: "
                                    "the model's context is %u",
                    request->prompt_count, e->options.context);
    if (!sampler_options_check(&request->sampling, e->info.vocab, err))
        return false;
    if (request->logprobs > ENGINE_LOGPROBS_MAX)
        return fail(err, ERR_INPUT, "%u log-probabilities asked, %d is the most",
                    request->logprobs, ENGINE_LOGPROBS_MAX);
    for (uint32_t i = 0; i < request->prompt_count; i++) {
        if ((uint32_t)request->prompt[i] >= e->info.vocab)
            return fail(err, ERR_INPUT, "prompt token %u is %d, the vocabulary has %u", i,
                        request->prompt[i], e->info.vocab);
    }
    if (e->queued >= e->options.queue_max)
        return fail(err, ERR_LIMIT, "%u requests are waiting already: try again later", e->queued);
    return true;
}

/* Does a breaker end in this token of the sequence? Special tokens are breakers themselves. */
static bool breaks_in(const Engine *e, Request *r, int32_t id)
{
    size_t size = 0;
    const char *bytes = tokenizer_bytes(e->model->tokenizer, id, &size);
    bool ends = breaks_add(&r->breaker, bytes ? bytes : "", bytes ? size : 0);
    return ends || tokenizer_is_special(e->model->tokenizer, id);
}

/* Copies the options with their lists, and finds the breaks of the prompt. */
static bool copy_sampling(const Engine *e, Request *r, const SamplerOptions *options, Error *err)
{
    r->sampling = *options;
    r->bias = mem_alloc(options->bias_count, sizeof *r->bias);
    if (!r->bias)
        return fail(err, ERR_MEMORY, "no memory for %u biases", options->bias_count);
    if (options->bias_count)
        memcpy(r->bias, options->bias, options->bias_count * sizeof *r->bias);
    r->sampling.bias = r->bias;
    r->sampling.breakers = NULL;
    if (!(options->dry_multiplier > 0))
        return true;
    bool own = options->breaker_count > 0;
    r->breaks = mem_alloc(r->prompt_count + (size_t)r->tokens_max, sizeof *r->breaks);
    if (!r->breaks)
        return fail(err, ERR_MEMORY, "no memory for a request of %u tokens", e->options.context);
    if (!breaks_init(&r->breaker, own ? options->breakers : sampler_breakers_default,
                     own ? options->breaker_count : sampler_breakers_default_count, err))
        return false;
    for (uint32_t i = 0; i < r->prompt_count; i++)
        r->breaks[i] = breaks_in(e, r, r->ids[i]);
    return true;
}

static bool fill_request(const Engine *e, Request *r, const EngineRequest *request, Error *err)
{
    uint32_t room = e->options.context - request->prompt_count;
    r->tokens_max = request->tokens_max && request->tokens_max < room ? request->tokens_max : room;
    r->ids = mem_alloc(request->prompt_count + (size_t)r->tokens_max, sizeof *r->ids);
    if (!r->ids)
        return fail(err, ERR_MEMORY, "no memory for a request of %u tokens", e->options.context);
    memcpy(r->ids, request->prompt, request->prompt_count * sizeof *r->ids);
    r->prompt_count = r->total = request->prompt_count;
    r->logprobs = request->logprobs;
    r->ids_only = request->ids_only;
    r->user = request->user;
    return copy_sampling(e, r, &request->sampling, err);
}

bool engine_submit(Engine *e, const EngineRequest *request, uint64_t *handle, Error *err)
{
    if (!check_request(e, request, err))
        return false;
    Request *r = mem_alloc(1, sizeof *r);
    if (!r || !answer_init(&r->answer, request->stop, request->stop_count, err)) {
        mem_free(r);
        return r ? false : fail(err, ERR_MEMORY, "no memory for a request");
    }
    if (!fill_request(e, r, request, err)) {
        request_free(r);
        return false;
    }
    r->handle = e->next_handle++;
    *e->queue_end = r;
    e->queue_end = &r->next;
    e->queued++;
    *handle = r->handle;
    return true;
}

static void finish(Engine *e, Request *r, EngineEnd end, const char *text, size_t size)
{
    if (e->events.on_end)
        e->events.on_end(r->user, end, text, size, r->prompt_count, r->total - r->prompt_count);
    request_free(r);
}

static void end_running(Engine *e, uint32_t sequence, EngineEnd end, const char *text, size_t size)
{
    Request *r = e->running[sequence];
    e->running[sequence] = NULL;
    e->running_count--;
    finish(e, r, end, text, size);
}

void engine_cancel(Engine *e, uint64_t handle)
{
    for (uint32_t i = 0; i < e->options.sequences_max; i++) {
        if (e->running[i] && e->running[i]->handle == handle) {
            end_running(e, i, ENGINE_CANCELLED, "", 0);
            return;
        }
    }
    for (Request **link = &e->queue; *link; link = &(*link)->next) {
        Request *r = *link;
        if (r->handle != handle)
            continue;
        *link = r->next;
        if (!r->next)
            e->queue_end = link;
        e->queued--;
        finish(e, r, ENGINE_CANCELLED, "", 0);
        return;
    }
}

bool engine_busy(const Engine *e)
{
    return e->queued || e->running_count;
}

/* ---- one step ---- */

static void admit(Engine *e)
{
    for (uint32_t i = 0; i < e->options.sequences_max && e->queue; i++) {
        if (e->running[i])
            continue;
        Request *r = e->queue;
        e->queue = r->next;
        if (!e->queue)
            e->queue_end = &e->queue;
        r->next = NULL;
        e->queued--;
        e->running[i] = r;
        e->running_count++;
    }
}

/* Adds up to `most` of a request's unfed ids; returns how many. */
static uint32_t feed(Engine *e, uint32_t sequence, uint32_t at, uint32_t most)
{
    Request *r = e->running[sequence];
    uint32_t left = r->total - r->fed, count = left < most ? left : most;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t position = r->fed + i;
        e->entries[at + i] = (StepEntry){(int32_t)sequence, (int32_t)position, r->ids[position],
                                         position + 1 == r->total};
    }
    r->fed += count;
    return count;
}

static uint32_t gather(Engine *e)
{
    uint32_t count = 0, sequences = e->options.sequences_max, most = e->options.batch_tokens;
    for (int prefill = 0; prefill < 2; prefill++) {
        for (uint32_t i = 0; i < sequences && count < most; i++) {
            uint32_t sequence = (e->turn + i) % sequences;
            Request *r = e->running[sequence];
            if (r && (r->fed < r->prompt_count) == (prefill == 1))
                count += feed(e, sequence, count, most - count);
        }
    }
    e->turn = (e->turn + 1) % sequences;
    return count;
}

/* An answer ends at its template's end marker, and at any other special token. */
static bool ends_answer(const Engine *e, int32_t id)
{
    return tokenizer_is_special(e->model->tokenizer, id) ||
           (uint32_t)id >= tokenizer_vocab(e->model->tokenizer);
}

static void take_token(Engine *e, uint32_t sequence, const float *logits)
{
    Request *r = e->running[sequence];
    SamplerTurn turn = {.ids = r->ids, .count = r->total, .prompt_count = r->prompt_count,
                        .breaks = r->breaks, .alternatives = r->logprobs,
                        .ids_only = r->ids_only};
    SamplerPick pick;
    EngineAlternative alternatives[ENGINE_LOGPROBS_MAX];
    Error unused;
    if (!sampler_pick(e->sampler, logits, &r->sampling, &turn, &pick, &unused)) {
        answer_flush(&r->answer);
        end_running(e, sequence, ENGINE_FAILED, r->answer.shown.data, r->answer.shown.size);
        return;
    }
    SamplerToken token = pick.token;
    for (uint32_t i = 0; i < pick.top_count; i++)
        alternatives[i] = (EngineAlternative){pick.top[i].id, pick.top[i].logprob};
    if (r->breaks)
        r->breaks[r->total] = breaks_in(e, r, token.id);
    r->ids[r->total++] = token.id;
    if (ends_answer(e, token.id)) {
        answer_flush(&r->answer);
        end_running(e, sequence, ENGINE_STOP, r->answer.shown.data, r->answer.shown.size);
        return;
    }
    size_t size;
    const char *bytes = tokenizer_bytes(e->model->tokenizer, token.id, &size);
    bool stopped = answer_add(&r->answer, bytes ? bytes : "", bytes ? size : 0);
    if (e->events.on_token)
        e->events.on_token(r->user, token.id, r->answer.shown.data, r->answer.shown.size,
                           token.logprob, alternatives, pick.top_count);
    if (stopped) {
        end_running(e, sequence, ENGINE_STOP, "", 0);
    } else if (r->total - r->prompt_count >= r->tokens_max) {
        answer_flush(&r->answer);
        end_running(e, sequence, ENGINE_LENGTH, r->answer.shown.data, r->answer.shown.size);
    }
}

bool engine_step(Engine *e, Error *err)
{
    admit(e);
    uint32_t count = gather(e), row = 0;
    const float *logits;
    if (count == 0)
        return true;
    if (!stepper_run(e->stepper, e->entries, count, &logits, err))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!e->entries[i].wants_logits)
            continue;
        take_token(e, (uint32_t)e->entries[i].sequence, logits + (size_t)row * e->info.vocab);
        row++;
    }
    return true;
}
