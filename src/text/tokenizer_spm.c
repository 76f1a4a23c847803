/* tokenizer_spm.c: SentencePiece's tokenizer.model, a protobuf message ModelProto.
 *
 *   ModelProto       1 pieces[]  2 trainer_spec  3 normalizer_spec
 *   SentencePiece    1 piece (text)  2 score (float)  3 type
 *   TrainerSpec      3 model_type (1 unigram, 2 BPE)  24 treat_whitespace_as_suffix
 *                    35 byte_fallback  46 bos_piece  47 eos_piece
 *   NormalizerSpec   2 precompiled_charsmap  3 add_dummy_prefix  4 remove_extra_whitespaces
 *                    5 escape_whitespaces
 *
 * A field is a varint key (number << 3 | wire type) and its value. Other fields are passed over, as
 * protobuf asks; the last of a repeated single field counts. Nothing is copied: pieces point into
 * the file. Every length is checked against what is left.
 */
#include "base/mem.h"
#include "text/tokenizer_formats.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { TYPE_UNIGRAM = 1, TYPE_BPE = 2 };

typedef struct {
    const uint8_t *at, *end;
} Message;

typedef struct {
    uint32_t number, wire;
    uint64_t value;      /* VARINT; of the fixed ones the bits */
    const uint8_t *data; /* BYTES */
    size_t size;
} Field;

typedef struct {
    const char *name;
    PieceModel model;
    uint32_t room;
    uint64_t type;
    Field bos, eos; /* names; without data: the usual ones */
    Error *err;
} SpmReading;

static bool read_varint(Message *m, uint64_t *out)
{
    *out = 0;
    for (uint32_t shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        uint8_t byte = *m->at++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool read_fixed(Message *m, size_t size, uint64_t *out)
{
    if ((size_t)(m->end - m->at) < size)
        return false;
    *out = 0;
    for (size_t i = 0; i < size; i++)
        *out |= (uint64_t)m->at[i] << (8 * i);
    m->at += size;
    return true;
}

/* The next field; false: the message is damaged. */
static bool read_field(Message *m, Field *field)
{
    uint64_t key;
    *field = (Field){0};
    if (!read_varint(m, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX)
        return false;
    field->number = (uint32_t)(key >> 3);
    field->wire = (uint32_t)(key & 7);
    switch (field->wire) {
    case WIRE_VARINT: return read_varint(m, &field->value);
    case WIRE_64: return read_fixed(m, 8, &field->value);
    case WIRE_32: return read_fixed(m, 4, &field->value);
    case WIRE_BYTES: break;
    default: return false;
    }
    if (!read_varint(m, &field->value) || field->value > (uint64_t)(m->end - m->at))
        return false;
    field->data = m->at;
    field->size = (size_t)field->value;
    m->at += field->size;
    return true;
}

static bool damaged(const SpmReading *r, const char *what)
{
    return fail(r->err, ERR_FORMAT, "%s: %s is damaged: a field does not fit its message", r->name,
                what);
}

static bool add_piece(SpmReading *r, const Field *message)
{
    PieceModel *model = &r->model;
    Message m = {message->data, message->data + message->size};
    Piece piece = {.text = "", .type = PIECE_NORMAL};
    Field field;
    while (m.at < m.end) {
        if (!read_field(&m, &field))
            return damaged(r, "a piece");
        if (field.number == 1 && field.wire == WIRE_BYTES) {
            piece.text = (const char *)field.data;
            piece.size = field.size;
        } else if (field.number == 2 && field.wire == WIRE_32) {
            uint32_t bits = (uint32_t)field.value;
            memcpy(&piece.score, &bits, sizeof piece.score);
        } else if (field.number == 3 && field.wire == WIRE_VARINT) {
            piece.type = field.value <= PIECE_BYTE ? (PieceType)field.value : (PieceType)0;
        }
    }
    if (model->count == TOKENIZER_VOCAB_MAX)
        return fail(r->err, ERR_LIMIT, "%s: more than %d pieces", r->name, TOKENIZER_VOCAB_MAX);
    if (model->count == r->room) {
        uint32_t room = r->room ? 2 * r->room : 1024;
        Piece *pieces = mem_resize(model->pieces, room, sizeof *pieces);
        if (!pieces)
            return fail(r->err, ERR_MEMORY, "no memory for the pieces of %s", r->name);
        model->pieces = pieces;
        r->room = room;
    }
    model->pieces[model->count++] = piece;
    return true;
}

static bool read_trainer(SpmReading *r, const Field *message)
{
    Message m = {message->data, message->data + message->size};
    Field field;
    while (m.at < m.end) {
        if (!read_field(&m, &field))
            return damaged(r, "trainer_spec");
        if (field.number == 3 && field.wire == WIRE_VARINT)
            r->type = field.value;
        else if (field.number == 24 && field.wire == WIRE_VARINT)
            r->model.as_suffix = field.value;
        else if (field.number == 35 && field.wire == WIRE_VARINT)
            r->model.byte_fallback = field.value;
        else if (field.number == 46 && field.wire == WIRE_BYTES)
            r->bos = field;
        else if (field.number == 47 && field.wire == WIRE_BYTES)
            r->eos = field;
    }
    return true;
}

static bool read_normalizer(SpmReading *r, const Field *message)
{
    Message m = {message->data, message->data + message->size};
    Field field;
    while (m.at < m.end) {
        if (!read_field(&m, &field))
            return damaged(r, "normalizer_spec");
        if (field.number == 2 && field.wire == WIRE_BYTES) {
            r->model.charsmap = field.data;
            r->model.charsmap_size = field.size;
        } else if (field.number == 3 && field.wire == WIRE_VARINT) {
            r->model.dummy_prefix = field.value;
        } else if (field.number == 4 && field.wire == WIRE_VARINT) {
            r->model.remove_extra = field.value;
        } else if (field.number == 5 && field.wire == WIRE_VARINT) {
            r->model.escape = field.value;
        }
    }
    return true;
}

static bool read_model(SpmReading *r, Message m)
{
    static bool (*const parts[])(SpmReading *r, const Field *message) = {
        [1] = add_piece, [2] = read_trainer, [3] = read_normalizer};
    Field field;
    while (m.at < m.end) {
        if (!read_field(&m, &field))
            return damaged(r, "the model");
        if (field.number < sizeof parts / sizeof *parts && field.wire == WIRE_BYTES &&
            !parts[field.number](r, &field))
            return false;
    }
    if (!r->model.count)
        return fail(r->err, ERR_FORMAT, "%s: no pieces in it: this is no SentencePiece model",
                    r->name);
    if (r->type != TYPE_UNIGRAM && r->type != TYPE_BPE)
        return fail(r->err, ERR_FORMAT, "%s: model_type %llu is not supported, unigram (1) and "
                    "BPE (2) are", r->name, (unsigned long long)r->type);
    r->model.unigram = r->type == TYPE_UNIGRAM;
    return true;
}

/* The control piece of this name. */
static int32_t find_control(const PieceModel *m, const Field *name, const char *usual)
{
    const char *text = name->data ? (const char *)name->data : usual;
    size_t size = name->data ? name->size : strlen(usual);
    for (uint32_t i = 0; i < m->count; i++)
        if (m->pieces[i].type == PIECE_CONTROL && m->pieces[i].size == size &&
            !memcmp(m->pieces[i].text, text, size))
            return (int32_t)i;
    return -1;
}

bool tokenizer_spm_read(Tokenizer **out, const uint8_t *bytes, size_t size, const char *name,
                        Error *err)
{
    SpmReading r = {.name = name, .type = TYPE_UNIGRAM, .err = err,
                    .model = {.name = name, .dummy_prefix = true, .remove_extra = true,
                              .escape = true}};
    bool done = read_model(&r, (Message){bytes, bytes + size});
    if (done) {
        r.model.bos = find_control(&r.model, &r.bos, "<s>");
        r.model.eos = find_control(&r.model, &r.eos, "</s>");
        /* The file does not say it: models with merges are trained with a begin token. */
        r.model.add_bos = !r.model.unigram;
        done = tokenizer_from_pieces(out, &r.model, err);
    }
    mem_free(r.model.pieces);
    return done;
}
