/* pieces.c: see pieces.h. Protobuf is read by one cursor: a tag, then a value that is skipped unless
 * its field is wanted. */
#include "format/pieces.h"

#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct {
    const uint8_t *at, *end;
} Wire;

typedef struct {
    uint32_t field, type;
    uint64_t number;    /* of a varint; the bits of a 32-bit value */
    Wire bytes;         /* of a length-delimited one */
} Field;

/* ---- protobuf ---- */

static bool take_varint(Wire *w, uint64_t *out)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        if (w->at == w->end)
            return false;
        uint8_t byte = *w->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* The next field; false at a fault. The caller has seen that the wire is not at its end. */
static bool take_field(Wire *w, Field *out)
{
    uint64_t tag, length;
    if (!take_varint(w, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
        return false;
    *out = (Field){.field = (uint32_t)(tag >> 3), .type = tag & 7};
    if (out->type == WIRE_VARINT)
        return take_varint(w, &out->number);
    length = out->type == WIRE_64 ? 8 : 4;
    if (out->type == WIRE_BYTES) {
        if (!take_varint(w, &length))
            return false;
    } else if (out->type != WIRE_64 && out->type != WIRE_32) {
        return false;
    }
    if (length > (uint64_t)(w->end - w->at))
        return false;
    out->bytes = (Wire){w->at, w->at + length};
    if (out->type == WIRE_32)
        out->number = w->at[0] | w->at[1] << 8 | w->at[2] << 16 | (uint64_t)w->at[3] << 24;
    w->at += length;
    return true;
}

static bool take_piece(Wire w, Piece *out)
{
    Field f;
    *out = (Piece){.kind = PIECE_NORMAL, .text = ""};
    while (w.at < w.end) {
        if (!take_field(&w, &f))
            return false;
        uint32_t bits = (uint32_t)f.number;
        if (f.field == 1 && f.type == WIRE_BYTES && f.bytes.end - f.bytes.at <= PIECE_BYTES_MAX) {
            out->text = (const char *)f.bytes.at;
            out->bytes = (uint32_t)(f.bytes.end - f.bytes.at);
        } else if (f.field == 2 && f.type == WIRE_32) {
            memcpy(&out->score, &bits, sizeof bits);
        } else if (f.field == 3 && f.type == WIRE_VARINT && f.number > 0 &&
                   f.number < PIECE_KIND_END) {
            out->kind = (PieceKind)f.number;
        } else if (f.field <= 3) {
            return false;
        }
    }
    return true;
}

/* An id is a varint that may be -1, written as 64 bits. */
static int32_t id_of(uint64_t number)
{
    return number < PIECES_MAX ? (int32_t)number : -1;
}

static bool take_trainer(Wire w, Pieces *p)
{
    Field f;
    while (w.at < w.end) {
        if (!take_field(&w, &f))
            return false;
        if (f.type != WIRE_VARINT)
            continue;
        if (f.field == 3 && (f.number == PIECES_UNIGRAM || f.number == PIECES_BPE))
            p->model = (PiecesModel)f.number;
        else if (f.field == 3)
            return false; /* word and character models: nobody ships one */
        else if (f.field == 35)
            p->byte_fallback = f.number;
        else if (f.field == 40)
            p->unknown = id_of(f.number);
        else if (f.field == 41)
            p->begin = id_of(f.number);
        else if (f.field == 42)
            p->end = id_of(f.number);
        else if (f.field == 43)
            p->pad = id_of(f.number);
    }
    return true;
}

static bool take_normalizer(Wire w, Pieces *p)
{
    Field f;
    while (w.at < w.end) {
        if (!take_field(&w, &f))
            return false;
        if (f.field == 2 && f.type == WIRE_BYTES)
            p->charsmap = f.bytes.at < f.bytes.end;
        else if (f.field == 3 && f.type == WIRE_VARINT)
            p->dummy_prefix = f.number;
        else if (f.field == 4 && f.type == WIRE_VARINT)
            p->remove_extra_blanks = f.number;
    }
    return true;
}

/* Fields of the outer message: counted when items is NULL, else kept. */
static bool take_model(Wire w, Pieces *p, uint32_t *count)
{
    Field f;
    for (*count = 0; w.at < w.end;) {
        if (!take_field(&w, &f) || *count == PIECES_MAX)
            return false;
        if (f.type != WIRE_BYTES)
            continue;
        if (f.field == 1 && p->items && !take_piece(f.bytes, &p->items[*count]))
            return false;
        *count += f.field == 1;
        if ((f.field == 2 && !take_trainer(f.bytes, p)) ||
            (f.field == 3 && !take_normalizer(f.bytes, p)))
            return false;
    }
    return true;
}

static bool check_ids(const Pieces *p, const char *name, Error *err)
{
    const int32_t ids[] = {p->unknown, p->begin, p->end, p->pad};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i] >= 0 && (uint32_t)ids[i] >= p->count)
            return fail(err, ERR_FORMAT, "%s: special token %" PRId32 " is outside of %" PRIu32
                                         " pieces", name, ids[i], p->count);
    }
    return true;
}

bool pieces_parse_model(Pieces *out, const uint8_t *bytes, size_t size, const char *name,
                        Error *err)
{
    /* the defaults are those of the format */
    Pieces p = {.model = PIECES_UNIGRAM, .unknown = 0, .begin = 1, .end = 2, .pad = -1,
                .dummy_prefix = true, .remove_extra_blanks = true};
    Wire wire = {bytes, bytes + size};
    uint32_t count = 0;
    if (!take_model(wire, &p, &count) || count == 0)
        return fail(err, ERR_FORMAT, "%s: is no SentencePiece model, or is cut", name);
    p.items = mem_alloc(count, sizeof *p.items);
    if (!p.items)
        return fail(err, ERR_MEMORY, "%s: no memory for %" PRIu32 " pieces", name, count);
    if (!take_model(wire, &p, &p.count)) {
        pieces_done(&p);
        return fail(err, ERR_FORMAT, "%s: piece %" PRIu32 " is not understood", name, p.count);
    }
    if (!check_ids(&p, name, err)) {
        pieces_done(&p);
        return false;
    }
    *out = p;
    return true;
}

void pieces_done(Pieces *pieces)
{
    mem_free(pieces->items);
    buf_done(&pieces->texts);
    *pieces = (Pieces){0};
}

/* ---- llama2.c ---- */

static uint32_t load_u32(const uint8_t *at)
{
    return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Walks the entries: counts them when items is NULL. False: the file is cut, or no such file. */
static bool walk_llama2c(Pieces *p, const uint8_t *bytes, size_t size, uint32_t *count)
{
    const uint8_t *at = bytes + 4, *end = bytes + size;
    for (*count = 0; at < end; ++*count) {
        if (end - at < 8 || *count == PIECES_MAX)
            return false;
        uint32_t bits = load_u32(at), length = load_u32(at + 4);
        at += 8;
        /* a blank becomes three bytes, and the result has the same limit */
        if (length > PIECE_BYTES_MAX / 3 || length > (size_t)(end - at))
            return false;
        if (p->items) {
            Piece *piece = &p->items[*count];
            *piece = (Piece){.text = (const char *)at, .bytes = length, .kind = PIECE_NORMAL};
            memcpy(&piece->score, &bits, sizeof bits);
        }
        at += length;
    }
    return true;
}

/* The text as SentencePiece has it, appended; the begin and end tokens lose their line ends. */
static void add_text(Buf *out, const Piece *piece, uint32_t id)
{
    static const char *const special[] = {"<unk>", "<s>", "</s>"};
    if (id < 3) {
        buf_add_text(out, special[id]);
        return;
    }
    for (uint32_t i = 0; i < piece->bytes; i++) {
        if (piece->text[i] == ' ')
            buf_add_text(out, "\xe2\x96\x81");
        else
            buf_add_char(out, piece->text[i]);
    }
}

static PieceKind kind_of(const char *text, size_t bytes, uint32_t id)
{
    static const char hex[] = "0123456789ABCDEF";
    if (id < 3)
        return id ? PIECE_CONTROL : PIECE_UNKNOWN;
    bool byte = bytes == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' && text[3] && text[4] &&
                strchr(hex, text[3]) && strchr(hex, text[4]);
    return byte ? PIECE_BYTE : PIECE_NORMAL;
}

bool pieces_parse_llama2c(Pieces *out, const uint8_t *bytes, size_t size, const char *name,
                          Error *err)
{
    Pieces p = {.model = PIECES_BPE, .unknown = 0, .begin = 1, .end = 2, .pad = -1,
                .byte_fallback = true, .dummy_prefix = true};
    uint32_t count = 0;
    if (size < 4 || !walk_llama2c(&p, bytes, size, &count) || count < 3)
        return fail(err, ERR_FORMAT, "%s: is no tokenizer of llama2.c, or is cut", name);
    buf_init(&p.texts, PIECES_BYTES_MAX);
    p.items = mem_alloc(count, sizeof *p.items);
    if (!p.items)
        return fail(err, ERR_MEMORY, "%s: no memory for %" PRIu32 " pieces", name, count);
    bool walked = walk_llama2c(&p, bytes, size, &p.count);
    assert(walked);
    (void)walked;
    for (uint32_t i = 0; i < count; i++) {
        size_t start = p.texts.size;
        add_text(&p.texts, &p.items[i], i);
        p.items[i].bytes = (uint32_t)(p.texts.size - start);
    }
    if (!buf_ok(&p.texts, name, err)) {
        pieces_done(&p);
        return false;
    }
    const char *at = p.texts.data; /* has its final place only now */
    for (uint32_t i = 0; i < count; i++) {
        p.items[i].text = at;
        p.items[i].kind = kind_of(at, p.items[i].bytes, i);
        at += p.items[i].bytes;
    }
    *out = p;
    return true;
}

/* ---- writing ---- */

static void put_varint(Buf *out, uint64_t value)
{
    for (; value > 127; value >>= 7)
        buf_add_char(out, (char)(value | 128));
    buf_add_char(out, (char)value);
}

static void put_number(Buf *out, uint32_t field, uint64_t value)
{
    put_varint(out, field << 3 | WIRE_VARINT);
    put_varint(out, value);
}

static void put_bytes(Buf *out, uint32_t field, const char *bytes, size_t size)
{
    put_varint(out, field << 3 | WIRE_BYTES);
    put_varint(out, size);
    buf_add(out, bytes, size);
}

static void put_piece(Buf *out, const Piece *piece)
{
    uint32_t bits;
    uint8_t score[4];
    auto_buf Buf inner;
    buf_init(&inner, PIECE_BYTES_MAX + 64);
    put_bytes(&inner, 1, piece->text, piece->bytes);
    memcpy(&bits, &piece->score, sizeof bits);
    for (int i = 0; i < 4; i++)
        score[i] = (uint8_t)(bits >> 8 * i);
    put_varint(&inner, 2 << 3 | WIRE_32);
    buf_add(&inner, score, sizeof score);
    if (piece->kind != PIECE_NORMAL)
        put_number(&inner, 3, (uint64_t)piece->kind);
    out->failed = out->failed || inner.failed;
    if (!inner.failed)
        put_bytes(out, 1, inner.data, inner.size);
}

void pieces_write_model(const Pieces *pieces, Buf *out)
{
    auto_buf Buf inner;
    buf_init(&inner, 256);
    for (uint32_t i = 0; i < pieces->count; i++)
        put_piece(out, &pieces->items[i]);
    put_number(&inner, 3, (uint64_t)pieces->model);
    put_number(&inner, 4, pieces->count);
    put_number(&inner, 35, pieces->byte_fallback);
    put_number(&inner, 40, (uint64_t)(int64_t)pieces->unknown);
    put_number(&inner, 41, (uint64_t)(int64_t)pieces->begin);
    put_number(&inner, 42, (uint64_t)(int64_t)pieces->end);
    put_number(&inner, 43, (uint64_t)(int64_t)pieces->pad);
    out->failed = out->failed || inner.failed;
    put_bytes(out, 2, inner.data, inner.size);
    buf_reset(&inner);
    put_bytes(&inner, 1, "identity", 8);
    put_number(&inner, 3, pieces->dummy_prefix);
    put_number(&inner, 4, pieces->remove_extra_blanks);
    put_number(&inner, 5, 1); /* blanks are written as U+2581 */
    out->failed = out->failed || inner.failed;
    put_bytes(out, 3, inner.data, inner.size);
}
