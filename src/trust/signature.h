/* signature.h: the text of manifest.sig and of key files; for trust/ alone.
 *
 *     bastide-signature/1
 *     key BASE64(32 bytes) ID
 *     sig BASE64(64 bytes)
 *
 * There is one text for one signature: reading prints what it understood and compares, so that no
 * byte of the file can differ unnoticed.
 */
#pragma once
#include "trust/manifest.h"

enum { SIGNATURE_TEXT_MAX = 256 };

/* Starts libsodium; ERR_DEVICE when it finds no source of random numbers. */
bool signature_start(Error *err) MUST_CHECK;

/* First 16 hex digits of SHA-256 of the key. */
bool signature_key_id(const uint8_t public_key[32], char id[17], Error *err) MUST_CHECK;

void signature_print(const uint8_t public_key[32], const char id[17], const uint8_t signature[64],
                     char out[SIGNATURE_TEXT_MAX]);

/* ERR_DENIED when the text is not one that signature_print gives. */
bool signature_read(const char *text, size_t size, uint8_t public_key[32], char id[17],
                    uint8_t signature[64], Error *err) MUST_CHECK;

/* A file `sign.pub`: base64 and a newline. */
bool signature_read_public(const char *path, uint8_t public_key[32], Error *err) MUST_CHECK;
