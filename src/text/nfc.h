/* nfc.h: Unicode normalisation forms C and KC of valid UTF-8, in time O(size log size) for any text. */
#pragma once
#include "base/buf.h"

/* Appends the NFC of text to out. False: out is over its limit or no memory is left. */
bool nfc_append(const char *text, size_t size, Buf *out, Error *err) MUST_CHECK;
bool nfkc_append(const char *text, size_t size, Buf *out, Error *err) MUST_CHECK;
