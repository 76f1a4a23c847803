/* cmd_generate.c: one answer at the terminal, through the engine that serves. */
#include "cli/command.h"

#include "base/clock.h"
#include "base/fs.h"
#include "format/json.h"
#include "infer/engine.h"
#include "infer/sampler_options.h"
#include "quant/source_model.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 1 << 20, STOPS_MAX = 4, OWN_FLAGS = 7, FLAG_ROOM = 32 };

typedef struct {
    const char *system, *weights, *stop;
    uint32_t tokens, threads;
    bool plain, json;
    SamplerOptions sampling;
    const char *stops[STOPS_MAX];
    uint32_t stop_count;
    const char *said[SAMPLER_OPTIONS_MAX];     /* of each of the sampler's options, or NULL */
    char flags[SAMPLER_OPTIONS_MAX][FLAG_ROOM]; /* their names, with dashes */
} Generate;

typedef struct {
    Buf text; /* --json: all of it */
    bool json;
    EngineEnd end;
    uint32_t prompt_tokens, answer_tokens;
} Answering;

static void show(Answering *a, const char *text, size_t size)
{
    if (a->json) {
        buf_add(&a->text, text, size);
        return;
    }
    fwrite(text, 1, size, stdout);
    fflush(stdout);
}

static void on_token(void *user, int32_t id, const char *text, size_t size, float logprob,
                     const EngineAlternative *alternatives, uint32_t count)
{
    (void)id;
    (void)logprob;
    (void)alternatives;
    (void)count;
    show(user, text, size);
}

static void on_end(void *user, EngineEnd end, const char *text, size_t size,
                   uint32_t prompt_tokens, uint32_t answer_tokens)
{
    Answering *a = user;
    show(a, text, size);
    a->end = end;
    a->prompt_tokens = prompt_tokens;
    a->answer_tokens = answer_tokens;
}

static bool read_question(Buf *out, Error *err)
{
    char step[4096];
    for (size_t got; (got = fread(step, 1, sizeof step, stdin)) > 0;)
        buf_add(out, step, got);
    while (out->size && out->data[out->size - 1] == '\n')
        out->data[--out->size] = 0;
    return buf_ok(out, "the question", err);
}

static bool encode(const Generate *g, const Engine *engine, const char *question, Tokens *ids,
                   Error *err)
{
    const ChatTemplate *chat = engine_template(engine);
    ChatMessage messages[2];
    uint32_t count = 0;
    if (g->plain)
        return tokenizer_encode_prompt(engine_tokenizer(engine), question, strlen(question), ids,
                                       err);
    if (!chat)
        return fail(err, ERR_INPUT, "this model carries no template known here: use --plain");
    if (g->system)
        messages[count++] = (ChatMessage){CHAT_SYSTEM, g->system, strlen(g->system), false};
    messages[count++] = (ChatMessage){CHAT_USER, question, strlen(question), false};
    return chat_render(chat, engine_tokenizer(engine), messages, count, true, ids, NULL, err);
}

static bool print_json(const Answering *a, double seconds, Error *err)
{
    auto_buf Buf line;
    buf_init(&line, 2 * TEXT_BYTES_MAX);
    auto_json json_t *object = json_pack(
        "{s:s%, s:s, s:i, s:i, s:f}", "text", a->text.data ? a->text.data : "", a->text.size,
        "finish_reason", a->end == ENGINE_LENGTH ? "length" : "stop", "prompt_tokens",
        (int)a->prompt_tokens, "completion_tokens", (int)a->answer_tokens, "seconds", seconds);
    if (!object)
        return fail(err, ERR_MEMORY, "no memory for the answer");
    if (!json_dump(object, &line, err))
        return false;
    puts(line.data);
    return true;
}

static bool answer(const Generate *g, Engine *engine, Answering *a, const char *question,
                   Error *err)
{
    auto_tokens Tokens ids;
    uint64_t handle;
    double begin = clock_seconds();
    tokens_init(&ids, 1 << 20);
    if (!encode(g, engine, question, &ids, err))
        return false;
    EngineRequest request = {.prompt = ids.ids, .prompt_count = (uint32_t)ids.count,
                             .tokens_max = g->tokens, .sampling = g->sampling,
                             .ids_only = true, .stop = g->stops, .stop_count = g->stop_count,
                             .user = a};
    if (!engine_submit(engine, &request, &handle, err))
        return false;
    while (engine_busy(engine)) {
        if (!engine_step(engine, err))
            return false;
    }
    if (a->json)
        return print_json(a, clock_seconds() - begin, err);
    putchar('\n');
    return true;
}

/* ---- flags ---- */

/* One flag for each option of the sampler: top_k is --top-k. */
static uint32_t add_sampling_flags(Generate *g, ArgOption *flags)
{
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        const SamplerOption *o = &sampler_options[i];
        bool seed = o->kind == OPTION_SEED;
        snprintf(g->flags[i], sizeof g->flags[i], "%s", o->name);
        for (char *c = g->flags[i]; *c; c++)
            *c = *c == '_' ? '-' : *c;
        flags[i] = (ArgOption){g->flags[i], seed ? ARG_U64 : ARG_TEXT,
                               seed ? (void *)&g->sampling.seed : (void *)&g->said[i], "VALUE",
                               o->meaning};
    }
    return sampler_options_count;
}

/* Values are written as in JSON. What is not JSON is read as null, which no option takes, so that
 * the sentence says what the option wants. */
static bool read_sampling(Generate *g, Arena *arena, Error *err)
{
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        char label[FLAG_ROOM + 2];
        auto_json json_t *value = NULL;
        Error unused;
        if (!g->said[i])
            continue;
        snprintf(label, sizeof label, "--%s", g->flags[i]);
        bool parsed = json_parse(&value, g->said[i], strlen(g->said[i]), label, &unused);
        if (!sampler_option_read(&g->sampling, &sampler_options[i], parsed ? value : json_null(),
                                 label, arena, err))
            return false;
    }
    return true;
}

/* --stop is one text, or a list of them as in JSON; the engine checks their sizes. */
static bool read_stop(Generate *g, Arena *arena, Error *err)
{
    auto_json json_t *list = NULL;
    if (!g->stop)
        return true;
    if (*g->stop != '[') {
        g->stops[g->stop_count++] = g->stop;
        return true;
    }
    if (!json_parse(&list, g->stop, strlen(g->stop), "--stop", err))
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_string(item) || i == STOPS_MAX)
            return fail(err, ERR_INPUT, "--stop must be a text or a list of at most %d texts",
                        STOPS_MAX);
        g->stops[i] = arena_copy_text(arena, json_string_value(item), json_string_length(item));
        if (!g->stops[i])
            return fail(err, ERR_MEMORY, "no memory for stop texts");
        g->stop_count++;
    }
    return true;
}

static bool read_flags(Generate *g, int argc, char **argv, const char *words[2], uint32_t *found,
                       Arena *arena, Error *err)
{
    ArgOption flags[OWN_FLAGS + SAMPLER_OPTIONS_MAX] = {
        {"system", ARG_TEXT, &g->system, "TEXT", "instruction"},
        {"tokens", ARG_U32, &g->tokens, "N", "at most"},
        {"threads", ARG_U32, &g->threads, "N", "to use"},
        {"weights", ARG_TEXT, &g->weights, "TYPE", "f32, q8_0, q6_k, q5_k, q4_k, q4_0; as stored"},
        {"stop", ARG_TEXT, &g->stop, "TEXT", "that ends the answer"},
        {"plain", ARG_FLAG, &g->plain, NULL, "continue the text"},
        {"json", ARG_FLAG, &g->json, NULL, "for programs"},
    };
    uint32_t count = OWN_FLAGS + add_sampling_flags(g, flags + OWN_FLAGS);
    if (!args_parse(argc, argv, flags, count, words, 2, found, err))
        return false;
    if (!*found)
        return fail(err, ERR_INPUT, "say which model: bastide generate FOLDER TEXT");
    return read_sampling(g, arena, err) && read_stop(g, arena, err);
}

static bool generate(Generate *g, const char *words[2], uint32_t found, Error *err)
{
    auto_buf Buf question;
    buf_init(&question, TEXT_BYTES_MAX);
    if (found > 1)
        buf_add_text(&question, words[1]);
    if ((found == 1 && !read_question(&question, err)) || !buf_ok(&question, "the question", err))
        return false;
    Engine *engine;
    EngineOptions open = {.model = words[0], .threads = g->threads, .weights = g->weights,
                          .sequences_max = 1, .load = source_model_load};
    if (!engine_open(&engine, &open, (EngineEvents){on_token, on_end}, err))
        return false;
    Answering a = {.json = g->json};
    buf_init(&a.text, TEXT_BYTES_MAX);
    bool ok = answer(g, engine, &a, question.data ? question.data : "", err);
    buf_done(&a.text);
    engine_close(engine);
    return ok;
}

bool command_generate(int argc, char **argv, Error *err)
{
    Generate g = {.tokens = 256};
    const char *words[2] = {NULL, NULL};
    uint32_t found;
    Arena arena;
    arena_init(&arena, TEXT_BYTES_MAX);
    sampler_options_init(&g.sampling);
    g.sampling.temperature = 0; /* at the terminal the most probable answer, unless told */
    bool ok = read_flags(&g, argc, argv, words, &found, &arena, err) &&
              generate(&g, words, found, err);
    arena_done(&arena);
    return ok;
}
