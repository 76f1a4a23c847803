/* main.c: the command table and the way in. */
#include "cli/command.h"

#include "format/suggest.h"

#include <stdio.h>
#include <string.h>

static bool command_help(int argc, char **argv, Error *err);

const Command commands[] = {
    {"quickstart", "train, judge and sign a model on this machine's package catalogue",
     "usage: bastide quickstart [--full] [--data PATH] [--workspace FOLDER] [--name NAME]\n"
     "                          [--threads N] [--seed N] [--json]\n\n"
     "Imports the package catalogue (or PATH: a .jsonl file of records, or a folder of text), trains\n"
     "a tokenizer and a model from nothing, evaluates it beside baselines, quantises, writes\n"
     "report.html and report.json, signs the model and enters it into the workspace. A second run\n"
     "finds the model and does nothing. See docs/dataset.md for the form of records.\n\n"
     "example: bastide quickstart --data tickets.jsonl --workspace tickets\n",
     command_quickstart, false},
    {"init", "make a workspace and its first API key",
     "usage: bastide init [--workspace FOLDER] [--json]\n\n"
     "example: bastide init --workspace bank\n",
     command_init, false},
    {"data", "check and show datasets; import the package catalogue",
     "usage: bastide data check PATH [--json]\n"
     "       bastide data show PATH [--count N]\n"
     "       bastide data import-catalogue DUMP OUT.jsonl\n\n"
     "check reads every record and says what is wrong, by line. DUMP is the output of\n"
     "`apt-cache dumpavail`.\n\n"
     "example: bastide data check tickets.jsonl\n",
     command_data, false},
    {"train", "train a model from a recipe",
     "usage: bastide train RECIPE [--resume] [--dry-run] [--json] [--set KEY=VALUE]\n\n"
     "--dry-run  print tokens, updates, planned memory and expected time; train nothing\n"
     "--resume   go on from the newest checkpoint of the run\n"
     "The keys of a recipe are in docs/recipe.md.\n\n"
     "example: bastide train recipes/shakespeare.yaml --dry-run\n",
     command_train, false},
    {"model", "show, import, export, merge checkpoints",
     "usage: bastide model show FOLDER|FILE [--json] [--template] [--hash]\n"
     "       bastide model import SOURCE FOLDER [--dtype f32|f16|bf16] [--dry-run] [--json]\n"
     "       bastide model export FOLDER OUT [--format gguf|hf|mistral] [--type TYPE] [--dry-run]\n"
     "       bastide model merge BASE ADAPTER FOLDER [--dtype f32|f16|bf16]\n"
     "       bastide model adapter BASE STATE.safetensors FOLDER --alpha A\n"
     "       bastide model logits FOLDER --tokens 1,2,3 [--json]\n\n"
     "A source is a folder of Hugging Face or Mistral, a GGUF file, or one of llama2.c. Types are\n"
     "kept unless one is given; gguf knows those of docs/quantisation.md as well.\n\n"
     "example: bastide model import mistral-7b.gguf models/mistral-7b\n",
     command_model, false},
    {"quantise", "store a model in fewer bits, and prove what that cost",
     "usage: bastide quantise MODEL OUT.gguf [--type TYPE | --fit SIZE] [--calibrate TEXT]\n"
     "                        [--prove TEXT] [--json]\n"
     "       bastide quantise MODEL --dry-run [--fit SIZE] [--calibrate TEXT] [--prove TEXT]\n\n"
     "--type TYPE       of the matrices: q4_k (the default), q5_k, q6_k, q8_0, ...\n"
     "--fit SIZE        the mixture of types with the least error in a file of SIZE (2GiB, 700MB)\n"
     "--calibrate TEXT  a file of text: what the model does with it says which weights matter\n"
     "--prove TEXT      other text: perplexity and divergence from the original, with intervals\n"
     "--dry-run         write nothing, list size (and proof) of every type\n"
     "--imatrix FILE    a calibration of llama.cpp's form; --save-imatrix FILE writes one\n"
     "--calibrate-tokens N, --prove-tokens N   of the texts to read (8192, 16384)\n"
     "--threads N       0: all\n"
     "See docs/quantisation.md.\n\n"
     "example: bastide quantise models/catalogue catalogue.gguf --type q4_k --calibrate some.txt\n",
     command_quantise, false},
    {"verify", "check a signed model, file by file",
     "usage: bastide verify FOLDER [--key SIGN.PUB] [--json]\n\n"
     "example: bastide verify bastide-workspace/models/catalogue\n",
     command_verify, false},
    {"generate", "let a model answer at the terminal",
     "usage: bastide generate FOLDER [--system TEXT] [--tokens N] [--temperature T] [--seed N]\n"
     "                        [--stop TEXT] [--weights TYPE] [--threads N] [--plain] [--json]\n"
     "                        [--OPTION VALUE ...] [TEXT]\n\n"
     "Without TEXT the question is read from standard input. --plain continues the text instead of\n"
     "answering it. OPTION is any of docs/sampling.md, with dashes: --top-k 40 --min-p 0.05.\n\n"
     "example: bastide generate models/catalogue \"htop: interactive processes viewer\"\n",
     command_generate, false},
    {"tokenize", "turn text into token ids, or ids into text",
     "usage: bastide tokenize --model PATH [--special] [--decode] [--json] < TEXT\n\n"
     "PATH is a model's folder or a file: tokenizer.json, tekken.json, a SentencePiece\n"
     "tokenizer.model, GGUF, .tiktoken. Text is read from standard input; with --decode ids are: as\n"
     "{\"ids\": [...]}, [...] or numbers between blanks.\n"
     "--special  put the begin and end tokens the model wants around the text; print special tokens\n\n"
     "example: bastide tokenize --model models/mistral --json < letter.txt\n",
     command_tokenize, false},
    {"up", "serve models on an OpenAI-compatible endpoint",
     "usage: bastide up [--workspace FOLDER] [--port N] [--host ADDRESS] [--threads N]\n"
     "                  [--weights TYPE] [--certificate FILE --certificate-key FILE]\n"
     "                  [--access-log] [NAME=FOLDER ...]\n\n"
     "Listens on 127.0.0.1:8080. Without names it serves every model of the workspace.\n\n"
     "example: bastide up --workspace bank --port 9000\n",
     command_up, false},
    {"key", "make, list and revoke API keys",
     "usage: bastide key add NAME | list | revoke ID  [--workspace FOLDER] [--json]\n\n"
     "A key is shown once, when it is made.\n\n"
     "example: bastide key add ci-pipeline\n",
     command_key, false},
    {"doctor", "what this machine can do, and what is wrong",
     "usage: bastide doctor [--workspace FOLDER] [--json]\n\n"
     "example: bastide doctor\n",
     command_doctor, false},
    {"ops", "list the operations of the compute core",
     "usage: bastide ops [--json]\n\n"
     "example: bastide ops\n",
     command_ops, false},
    {"help", "explain a command", "usage: bastide help [COMMAND]\n", command_help, false},
    {"worker", "", "", command_worker, true},
    {0},
};

static const Command *find_command(const char *name)
{
    for (const Command *c = commands; c->name; c++) {
        if (strcmp(c->name, name) == 0)
            return c;
    }
    return NULL;
}

static void print_overview(FILE *to)
{
    fprintf(to, "bastide " BASTIDE_VERSION ": your data, your weights, your machines.\n\n"
                "usage: bastide COMMAND ...\n\n");
    for (const Command *c = commands; c->name; c++) {
        if (!c->hidden)
            fprintf(to, "  %-12s %s\n", c->name, c->summary);
    }
    fprintf(to, "\nbastide COMMAND --help explains one, with an example.\n"
                "Exit status: 0 done");
    for (ErrCode code = ERR_NONE + 1; code < ERR_COUNT; code++)
        fprintf(to, ", %d %s", error_info(code)->exit_status, error_info(code)->name);
    fprintf(to, ".\n");
}

static bool unknown_command(const char *name, Error *err)
{
    const char *names[32] = {0};
    size_t count = 0;
    for (const Command *c = commands; c->name && count < 32; c++) {
        if (!c->hidden)
            names[count++] = c->name;
    }
    const char *near = suggest_nearest(name, names, count);
    if (near)
        return fail(err, ERR_INPUT, "unknown command '%.40s' (did you mean '%s'?)", name, near);
    return fail(err, ERR_INPUT, "unknown command '%.40s'; bastide --help lists them", name);
}

static bool command_help(int argc, char **argv, Error *err)
{
    if (argc < 2) {
        print_overview(stdout);
        return true;
    }
    const Command *c = find_command(argv[1]);
    if (!c)
        return unknown_command(argv[1], err);
    fputs(c->help, stdout);
    return true;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

static bool dispatch(int argc, char **argv, Error *err)
{
    const Command *c = find_command(argv[0]);
    if (!c)
        return unknown_command(argv[0], err);
    if (!c->hidden && asks_for_help(argc, argv)) {
        fputs(c->help, stdout);
        return true;
    }
    return c->run(argc, argv, err);
}

int main(int argc, char **argv)
{
    Error err = {0};
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_overview(argc < 2 ? stderr : stdout);
        return argc < 2 ? error_info(ERR_INPUT)->exit_status : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("bastide " BASTIDE_VERSION);
        return 0;
    }
    if (dispatch(argc - 1, argv + 1, &err))
        return fflush(stdout) == 0 ? 0 : error_info(ERR_IO)->exit_status;
    terminal_progress_end();
    fprintf(stderr, "bastide: %s\n", err.text);
    return error_info(err.code)->exit_status;
}
