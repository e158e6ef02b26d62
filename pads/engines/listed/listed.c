/*
 * A policy engine in C, small enough to be read in a minute: the program constraint is the list of
 * the programs that may compute on the Pad, as their SHA-256 digests one after the other; none of
 * them may use a native helper. What is derived must be a Pad of the same custodian with this same policy; there are no results in plain
 * and no other policies.
 */
#include <string.h>

#include "dstyx_pad.h"

/* The engine's codes. */
enum { NO_POLICY = 1, PROGRAM = 2, OUTPUT = 3, UPDATE = 4, HELPER = 5 };

static const pad_answer YES = { .type = PAD_ALLOWED };

static pad_answer no(uint16_t code)
{
    return (pad_answer){ .type = PAD_REFUSED, .refusal = { .code = code } };
}

static bool same_digest(const pad_digest *a, const pad_digest *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static bool same_bytes(pad_bytes a, pad_bytes b)
{
    return a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}

static bool is_listed(pad_bytes list, const pad_digest *program)
{
    uint8_t digest[32];
    for (int i = 0; i < 32; i++)
        digest[i] = program->word[i / 8] >> (56 - i % 8 * 8);
    for (size_t at = 0; at + 32 <= list.length; at += 32)
        if (memcmp(list.at + at, digest, 32) == 0)
            return true;
    return false;
}

/* Whether an output has this policy, which this engine then decides by. */
static bool is_kept(const pad_policy *policy, pad_policies policies)
{
    for (size_t i = 0; i < policies.length; i++) {
        const pad_policy *other = &policies.at[i];
        if (same_digest(&policy->engine, &other->engine) &&
            same_bytes(policy->input_constraint, other->input_constraint) &&
            same_bytes(policy->program_constraint, other->program_constraint) &&
            same_bytes(policy->output_constraint, other->output_constraint))
            return true;
    }
    return false;
}

/* Decides for one Pad, by all its policies that name this engine; an output may be none. */
static pad_answer decide(const pad_run_view *run, const pad_view *pad, const pad_output_view *output)
{
    bool has_policy = false;
    for (size_t i = 0; i < pad->policies.length; i++) {
        const pad_policy *policy = &pad->policies.at[i];
        if (!same_digest(&policy->engine, &run->engine))
            continue;
        has_policy = true;
        if (policy->program_constraint.length % 32 != 0 ||
            !is_listed(policy->program_constraint, &run->program))
            return no(PROGRAM);
        if (run->helpers.length > 0)
            return no(HELPER);
        if (output != NULL && !(output->custodian.is_some &&
                                same_digest(&output->custodian.digest, &pad->custodian) &&
                                is_kept(policy, output->policies)))
            return no(OUTPUT);
    }
    return has_policy ? YES : no(NO_POLICY);
}

static const pad_answers *answers(const pad_input_question *question, const pad_output_view *output)
{
    static pad_answers answers;
    pad_answer *each = calloc(question->asked.length + 1, sizeof *each);
    for (size_t i = 0; i < question->asked.length; i++) {
        uint32_t pad = question->asked.at[i];
        if (each == NULL || pad >= question->pads.length)
            __builtin_trap();
        each[i] = decide(&question->run, &question->pads.at[pad], output);
    }
    answers = (pad_answers){ each, question->asked.length };
    return &answers;
}

const pad_answers *pad_check_input(const pad_input_question *question)
{
    return answers(question, NULL);
}

const pad_answers *pad_check_output(const pad_output_question *question)
{
    return answers(&question->input, &question->output);
}

const pad_answer *pad_check_update(const pad_update_question *question)
{
    static pad_answer answer;
    answer = no(UPDATE);
    return &answer;
}
