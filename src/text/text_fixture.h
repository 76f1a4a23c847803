/* text_fixture.h: a small trained tokenizer for tests and fuzz targets. */
#pragma once
#include "text/tokenizer.h"

#include <string.h>

static const char *const fixture_texts[] = {
    "The committee met at ten o'clock. We'll see what they're doing; it isn't much, is it?\n",
    "the cat sat on the mat, the rat ran, and the bat sang that 1234 hats are 99.5% flat.\n\n",
    "L'\xc3\xa9t\xc3\xa9 dernier, \xc3\xa0 la fa\xc3\xa7on"
    " de l'\xc3\xa9lite; na\xc3\xafve caf\xc3\xa9s na\xc3\xafvet\xc3\xa9.\r\n",
    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae\xe6\x96\x87\xe7\xab\xa0\xe3\x80\x82"
    " \xf0\x9f\x98\x80\xf0\x9f\x98\x80  \t  end\n",
};
enum { FIXTURE_TEXTS = sizeof fixture_texts / sizeof fixture_texts[0] };

static const char *const fixture_specials[] = {"<|endoftext|>", "<|system|>", "<|user|>",
                                               "<|assistant|>", "<|end|>"};

static inline void fixture_each(void *user, size_t i, const char **text, size_t *size)
{
    (void)user;
    *text = fixture_texts[i];
    *size = strlen(*text);
}

static inline bool fixture_tokenizer(Tokenizer **out, uint32_t vocab, uint32_t threads, Error *err)
{
    TokenizerTraining options = {.vocab = vocab, .special = fixture_specials, .special_count = 5,
                                 .threads = threads};
    return tokenizer_train(out, &options, FIXTURE_TEXTS, fixture_each, NULL, err);
}
