/* wire.h: the private protocol between the gateway and a worker, over one Unix stream socket.
 *
 * A frame is a header of 16 bytes and a body:
 *
 *     u32 size (of the body)   u16 kind   u16 flags (0)   u64 request
 *
 * in the machine's byte order, since both ends are one binary on one machine. `request` names the
 * request a frame belongs to, 0 the worker itself. Which kinds may travel in which direction, and
 * how large their bodies may be, is one table in wire.c. Neither end trusts the other: a worker
 * that parsed a hostile model may send anything, and costs its requests, never the gateway.
 *
 *     gateway -> worker   SUBMIT, CANCEL
 *     worker -> gateway   READY once; BEAT often; per request: START of each choice, TOKEN..., END
 *                         of each choice; or ERROR, which ends the whole request
 *
 * A request has `prompts x n` choices: choice p*n + k is the k-th answer to prompt p.
 * Texts and ids of a decoded frame point into its body. Threads: one at a time per object.
 */
#pragma once
#include "base/buf.h"
#include "base/mem.h"
#include "infer/sampler.h"

#include <stdint.h>

enum {
    WIRE_HEADER_BYTES = 16,
    WIRE_BODY_MAX = 16 << 20,
    WIRE_STOPS_MAX = 4,
    WIRE_STOP_BYTES_MAX = 256,
    WIRE_PARTS_MAX = 4096,
    WIRE_CHOICES_MAX = 64,
    WIRE_ALTERNATIVES_MAX = 20,
};

typedef enum {
    WIRE_SUBMIT,
    WIRE_CANCEL,
    WIRE_READY,
    WIRE_BEAT,
    WIRE_START,
    WIRE_TOKEN,
    WIRE_END,
    WIRE_ERROR,
    WIRE_KIND_COUNT
} WireKind;

typedef enum { WIRE_GATEWAY, WIRE_WORKER } WireSide;

typedef struct {
    WireKind kind;
    uint64_t request;
    const uint8_t *body;
    uint32_t size;
} WireFrame;

/* Bytes in, whole frames out. A frame that breaks the rules is ERR_FORMAT and ends the stream:
 * its bytes cannot be told from the next frame's. */
typedef struct {
    Buf in;
    size_t at;
    WireSide from;
} WireReader;
void wire_reader_init(WireReader *reader, WireSide from);
void wire_reader_done(WireReader *reader);
bool wire_reader_add(WireReader *reader, const void *bytes, size_t size, Error *err) MUST_CHECK;
/* *got false: more bytes are needed. The frame lives until the next call of wire_reader_add. */
bool wire_reader_next(WireReader *reader, WireFrame *frame, bool *got, Error *err) MUST_CHECK;

typedef struct {
    const char *text;
    uint32_t size;
} WireText;

/* What a prompt is made of. Messages of the three roles make one prompt together, through the
 * model's template; every TEXT or IDS part is a prompt of its own. They do not mix. */
typedef enum { PART_SYSTEM, PART_USER, PART_ASSISTANT, PART_TEXT, PART_IDS, PART_KINDS } PartKind;

typedef struct {
    PartKind kind;
    WireText text;      /* of PART_IDS: empty */
    const int32_t *ids; /* of PART_IDS; not necessarily aligned in a decoded frame: copy */
    uint32_t count;
} WirePart;

typedef struct {
    uint32_t n;          /* answers to each prompt, >= 1; prompts x n <= WIRE_CHOICES_MAX */
    uint32_t tokens_max; /* 0: up to the context */
    SamplerOptions sampling; /* its lists live in the arena of who read them; no hook */
    bool logprobs;         /* report bytes and logprob of every token */
    uint32_t alternatives; /* 0..20, only with logprobs */
    uint32_t stop_count;
    WireText stops[WIRE_STOPS_MAX];
    uint32_t part_count; /* 1..WIRE_PARTS_MAX */
    const WirePart *parts;
} WireSubmit;
uint32_t wire_prompts(const WireSubmit *submit); /* 1 for messages, else part_count */

typedef struct {
    uint32_t context, vocab;
    uint64_t parameters, bytes_planned;
    bool chat; /* the model has a chat template */
} WireReady;

typedef struct {
    uint64_t steps;  /* engine steps so far: the sign of life */
    uint64_t tokens; /* answer tokens so far */
    uint32_t choices; /* running or queued in the worker */
} WireBeat;

typedef struct {
    uint32_t choice, prompt_tokens;
} WireStart;

typedef struct {
    int32_t id;
    float logprob;
    WireText bytes; /* of the token: any bytes, not always whole characters */
} WireChance;

typedef struct {
    uint32_t choice;
    WireText text;     /* whole characters that may be shown, possibly empty */
    WireChance chosen; /* bytes and alternatives: empty unless asked for */
    uint32_t count;
    WireChance alternatives[WIRE_ALTERNATIVES_MAX];
} WireToken;

typedef enum { WIRE_STOPPED, WIRE_LENGTH, WIRE_CANCELLED, WIRE_FAILED, WIRE_ENDS } WireEndKind;

typedef struct {
    uint32_t choice;
    WireEndKind end;
    WireText text; /* what was held back */
    uint32_t prompt_tokens, answer_tokens;
} WireEnd;

/* Why a request (or the worker) failed: the cause decides the HTTP status, the text is for
 * people. */
typedef enum {
    CAUSE_REQUEST, /* the request is wrong */
    CAUSE_CONTEXT, /* prompt longer than the context */
    CAUSE_BUSY,    /* the queue is full */
    CAUSE_WORKER,  /* the worker failed */
    CAUSE_COUNT
} WireCause;

typedef struct {
    WireCause cause;
    ErrCode code;
    WireText text;
} WireError;

/* ---- writing: one whole frame appended to out (a failure is latched in out) ---- */
void wire_add_submit(Buf *out, uint64_t request, const WireSubmit *submit);
void wire_add_cancel(Buf *out, uint64_t request);
void wire_add_ready(Buf *out, const WireReady *ready);
void wire_add_beat(Buf *out, const WireBeat *beat);
void wire_add_start(Buf *out, uint64_t request, const WireStart *start);
void wire_add_token(Buf *out, uint64_t request, const WireToken *token);
void wire_add_end(Buf *out, uint64_t request, const WireEnd *end);
void wire_add_error(Buf *out, uint64_t request, const WireError *error);

/* ---- reading the body of a frame of that kind; ERR_FORMAT, ERR_MEMORY ---- */
bool wire_read_submit(const WireFrame *frame, WireSubmit *out, Arena *arena,
                      Error *err) MUST_CHECK; /* parts and lists come from arena */
bool wire_read_ready(const WireFrame *frame, WireReady *out, Error *err) MUST_CHECK;
bool wire_read_beat(const WireFrame *frame, WireBeat *out, Error *err) MUST_CHECK;
bool wire_read_start(const WireFrame *frame, WireStart *out, Error *err) MUST_CHECK;
bool wire_read_token(const WireFrame *frame, WireToken *out, Error *err) MUST_CHECK;
bool wire_read_end(const WireFrame *frame, WireEnd *out, Error *err) MUST_CHECK;
bool wire_read_error(const WireFrame *frame, WireError *out, Error *err) MUST_CHECK;
