/* tokenizer_samples.h: the smallest files of every format, for tests. */
#pragma once
#include "base/buf.h"
#include "text/base64.h"

#include <string.h>

typedef enum { SAMPLE_BPE, SAMPLE_UNIGRAM, SAMPLE_TEKKEN, SAMPLE_RANKS, SAMPLE_KINDS } SampleKind;

/* One field of protobuf: bytes, all below 128 of them. */
static inline void sample_field(Buf *out, char key, const char *bytes, size_t size)
{
    buf_add_char(out, key);
    buf_add_char(out, (char)size);
    buf_add(out, bytes, size);
}

static inline void sample_piece(Buf *out, const char *text, float score, char type)
{
    auto_buf Buf piece;
    buf_init(&piece, 100);
    sample_field(&piece, 0x0a, text, strlen(text));
    buf_add_char(&piece, 0x15);
    buf_add(&piece, &score, sizeof score); /* tests run on little-endian machines */
    buf_add_char(&piece, 0x18);
    buf_add_char(&piece, type);
    sample_field(out, 0x0a, piece.data, piece.size);
}

/* <unk> <s> </s>, 256 bytes when it is BPE, then pieces of a, b and U+2581, and WORD as a whole. */
static inline void sample_spm(Buf *out, SampleKind kind)
{
    static const char *const texts[] = {"\xe2\x96\x81" "ab", "ab", "\xe2\x96\x81" "a",
                                        "\xe2\x96\x81", "a", "b"};
    buf_init(out, 1 << 16);
    sample_piece(out, "<unk>", 0, 2);
    sample_piece(out, "<s>", 0, 3);
    sample_piece(out, "</s>", 0, 3);
    for (int byte = 0; byte < 256 && kind == SAMPLE_BPE; byte++) {
        auto_buf Buf name;
        buf_init(&name, 10);
        buf_format(&name, "<0x%02X>", byte);
        sample_piece(out, name.data, 0, 6);
    }
    for (int i = 0; i < 6; i++)
        sample_piece(out, texts[i], (float)-i - 1, 1);
    sample_piece(out, "WORD", 0, 4);
    if (kind == SAMPLE_BPE)
        sample_field(out, 0x12, "\x18\x02\x98\x02\x01", 5); /* model_type 2, byte_fallback */
    else
        sample_field(out, 0x12, "\x18\x01", 2);
    sample_field(out, 0x1a, "\x18\x01\x20\x00\x28\x01", 6); /* prefix, no removal, escape */
}

/* The 256 bytes, "ab" and "abc" with their ranks, as JSON or as lines. */
static inline void sample_ranked(Buf *out, bool json, const char *between)
{
    for (int rank = 0; rank < 258; rank++) {
        auto_buf Buf text;
        uint8_t byte = (uint8_t)rank;
        buf_init(&text, 10);
        if (rank < 256)
            base64_write(&byte, 1, &text);
        else
            base64_write((const uint8_t *)"abc", (size_t)rank - 254, &text);
        buf_add_text(out, rank ? between : "");
        if (json)
            buf_format(out, "{\"rank\":%d,\"token_bytes\":\"%s\",\"token_str\":null}", rank,
                       text.data);
        else
            buf_format(out, "%s %d", text.data, rank);
    }
}

static inline void sample_tekken(Buf *out)
{
    buf_init(out, 1 << 16);
    buf_add_text(out, "{\"config\":{\"pattern\":\".+|\\\\n\",\"num_vocab_tokens\":258,"
                      "\"default_vocab_size\":268,\"default_num_special_tokens\":10,"
                      "\"version\":\"v3\"},\"vocab\":[");
    sample_ranked(out, true, ",");
    buf_add_text(out, "],\"special_tokens\":[{\"rank\":0,\"token_str\":\"<unk>\"},"
                      "{\"rank\":1,\"token_str\":\"<s>\"},{\"rank\":2,\"token_str\":\"</s>\"},"
                      "{\"rank\":3,\"token_str\":\"[INST]\",\"is_control\":true}]}");
}

static inline void sample_ranks(Buf *out)
{
    buf_init(out, 1 << 16);
    sample_ranked(out, false, "\n");
}

/* Fills out and returns the name the file should have. */
static inline const char *sample_any(Buf *out, int kind)
{
    static const char *const names[] = {"tokenizer.model", "tokenizer.model", "tekken.json",
                                        "cl100k_base.tiktoken"};
    if (kind == SAMPLE_TEKKEN)
        sample_tekken(out);
    else if (kind == SAMPLE_RANKS)
        sample_ranks(out);
    else
        sample_spm(out, (SampleKind)kind);
    return names[kind];
}
