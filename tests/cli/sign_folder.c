/* sign_folder.c: what cli_test.sh signs folders with: sign_folder FOLDER KEYS */
#include "trust/manifest.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    Error err = {.text = "usage: sign_folder FOLDER KEYS"};
    SignKey key;
    bool ok = argc == 3 && signkey_open(argv[2], &key, &err);
    if (ok) {
        ok = manifest_sign(argv[1], "tiny", NULL, &key, &err);
        signkey_wipe(&key);
    }
    if (!ok)
        fprintf(stderr, "sign_folder: %s\n", err.text);
    return ok ? 0 : 1;
}
