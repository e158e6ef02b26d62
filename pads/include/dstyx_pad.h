/*
 * Programs for the sandbox of Pads in C: the interfaces of pads/wit (dstyx:pad@0.1.0) as types and
 * functions, by the component model's canonical ABI.
 *
 * A consumer defines pad_run, an engine the three pad_check_… below. clang makes the module, for
 * wasm32-wasip1 and with -mexec-model=reactor when it links, together with dstyx_wasi.c. `dstyx pad
 * component` makes the component of it, and refuses one whose functions are not those of pads/wit.
 * Memory that a function here returns is from malloc, and so is what arguments point to. A program
 * that cannot go on calls __builtin_trap.
 */
#ifndef DSTYX_PAD_H
#define DSTYX_PAD_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most bytes of one window. */
#define PAD_MAX_WINDOW (1u << 20)

#define PAD_EXPORT(name) __attribute__((export_name(name)))
#define PAD_IMPORT(interface, name) \
    __attribute__((import_module("dstyx:pad/" interface "@0.1.0"), import_name(name)))

/* Types that both worlds have. */

/* A SHA-256, as four big-endian words in their order. */
typedef struct {
    uint64_t word[4];
} pad_digest;

/* A UUID, as two big-endian words in their order. */
typedef struct {
    uint64_t word[2];
} pad_uuid;

/* Bytes, or a text in UTF-8 without a zero at its end. */
typedef struct {
    const uint8_t *at;
    size_t length;
} pad_bytes;

/* One policy of a Pad. Only the engine that it names knows what the constraints mean. */
typedef struct {
    pad_digest engine;
    pad_uuid policy_type;
    pad_bytes input_id;
    pad_bytes input_constraint;
    pad_bytes program_constraint;
    pad_bytes output_constraint;
} pad_policy;

typedef struct {
    const pad_policy *at;
    size_t length;
} pad_policies;

/* The type of an attribute's value. */
enum { PAD_NUMBER = 0, PAD_TEXT = 1, PAD_BYTES = 2 };

/* The value of an attribute. */
typedef struct {
    uint8_t type;
    union {
        uint64_t number;
        pad_bytes bytes;
    };
} pad_value;

/* A fact about the data of a Pad. */
typedef struct {
    pad_bytes name;
    pad_value value;
} pad_attribute;

typedef struct {
    const pad_attribute *at;
    size_t length;
} pad_attributes;

/* A digest or none. */
typedef struct {
    bool is_some;
    pad_digest digest;
} pad_optional_digest;

/* The world `consumer`. */

/* Policies and attributes of an opened Pad. */
typedef struct {
    pad_policies policies;
    pad_attributes attributes;
} pad_contents;

/* An output; a result in plain for the program's owner if there is no custodian. */
typedef struct {
    pad_optional_digest custodian;
    pad_policies policies;
    pad_attributes attributes;
    pad_bytes data;
} pad_proposal;

/* Defined by the program; called once, with what its owner gives it beside the Pads. */
PAD_EXPORT("run") void pad_run(const uint8_t *plain, size_t length);

/* How many Pads were submitted to this run; their indices start at 0. */
PAD_IMPORT("dataset", "pads") uint32_t pad_count(void);

/* Adds one of them to the dataset. */
PAD_IMPORT("dataset", "add") void pad_add(uint32_t pad);

/* Asks every engine of every added Pad. */
PAD_IMPORT("dataset", "check") bool pad_check(void);

/* Opens the checked dataset. */
PAD_IMPORT("dataset", "open") void pad_open(void);

/* The size in bytes of the data of an opened Pad. */
PAD_IMPORT("dataset", "size") uint64_t pad_size(uint32_t pad);

PAD_IMPORT("dataset", "read")
void pad_import_read(uint32_t pad, uint64_t offset, uint32_t length, pad_bytes *window);
PAD_IMPORT("dataset", "describe")
void pad_import_describe(uint32_t pad, pad_contents *contents);
PAD_IMPORT("dataset", "propose")
bool pad_import_propose(uint32_t has_custodian, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                        const pad_policy *policies, size_t policy_count,
                        const pad_attribute *attributes, size_t attribute_count,
                        const uint8_t *data, size_t length);

/* A window of the data of an opened Pad. */
static inline pad_bytes pad_read(uint32_t pad, uint64_t offset, uint32_t length)
{
    pad_bytes window;
    pad_import_read(pad, offset, length, &window);
    return window;
}

/* Policies and attributes of an opened Pad. */
static inline pad_contents pad_describe(uint32_t pad)
{
    pad_contents contents;
    pad_import_describe(pad, &contents);
    return contents;
}

/* Proposes an output; says whether it was allowed. */
static inline bool pad_propose(const pad_proposal *output)
{
    const uint64_t *custodian = output->custodian.digest.word;
    return pad_import_propose(output->custodian.is_some, custodian[0], custodian[1], custodian[2],
                              custodian[3], output->policies.at, output->policies.length,
                              output->attributes.at, output->attributes.length, output->data.at,
                              output->data.length);
}

/* The native helper `onnx`: a program that calls it runs only where policies grant the helper. */

/* The type of a tensor's elements. */
enum { PAD_F32 = 0, PAD_F64 = 1, PAD_S32 = 2, PAD_S64 = 3, PAD_U8 = 4 };

/* A tensor; its elements are little-endian. */
typedef struct {
    struct {
        const uint32_t *at;
        size_t length;
    } dimensions;
    uint8_t element;
    pad_bytes data;
} pad_tensor;

typedef struct {
    const pad_tensor *at;
    size_t length;
} pad_tensors;

/* Reads a model in the ONNX format; the result stands for it in this run. */
PAD_IMPORT("inference", "load") uint32_t pad_load(const uint8_t *model, size_t length);

PAD_IMPORT("inference", "compute")
void pad_import_compute(uint32_t model, const pad_tensor *inputs, size_t count, pad_tensors *outputs);

/* Computes a model's outputs from its inputs, both in the model's order. */
static inline pad_tensors pad_compute(uint32_t model, pad_tensors inputs)
{
    pad_tensors outputs;
    pad_import_compute(model, inputs.at, inputs.length, &outputs);
    return outputs;
}

/* The world `policy-engine`. */

/* The author of an attribute. */
enum { PAD_CUSTODIAN = 0, PAD_PROGRAM = 1 };

/* An attribute and its author; `program` is the digest of the program that made it. */
typedef struct {
    pad_attribute attribute;
    uint8_t origin;
    pad_digest program;
} pad_statement;

/* A Pad of the dataset, without its data. */
typedef struct {
    pad_uuid id;
    pad_digest digest;
    pad_digest custodian;
    pad_policies policies;
    struct {
        const pad_statement *at;
        size_t length;
    } attributes;
} pad_view;

/* The run that is decided about; `engine` is this very engine. */
typedef struct {
    pad_digest engine;
    pad_digest program;
    pad_optional_digest owner;
    bool has_plain;
    pad_digest plain_digest;
    uint64_t plain_size;
    struct {
        const pad_bytes *at;
        size_t length;
    } helpers; /* names of the native helpers that the program uses */
} pad_run_view;

/* An output that the program proposes; none in pad_check_input. */
typedef struct {
    pad_optional_digest custodian;
    pad_policies policies;
    pad_attributes attributes;
    uint64_t size;
} pad_output_view;

/* A question about the Pads of a run, of which those in `asked` are decided about. */
typedef struct {
    pad_run_view run;
    struct {
        const pad_view *at;
        size_t length;
    } pads;
    struct {
        const uint32_t *at;
        size_t length;
    } asked;
} pad_input_question;

/* The same with an output. */
typedef struct {
    pad_input_question input;
    pad_output_view output;
} pad_output_question;

/* A question about other policies for a Pad, on which owners agreed. */
typedef struct {
    pad_digest engine;
    pad_view pad;
    pad_policies policies;
    struct {
        const pad_digest *at;
        size_t length;
    } owners;
} pad_update_question;

/* A use that is counted before anything leaves. */
typedef struct {
    uint64_t account[2];
    pad_digest owner;
    uint64_t uses;
    uint64_t period_secs;
} pad_quota_use;

/* The part of a policy in which a rule stands. */
enum { PAD_INPUT_PART = 0, PAD_PROGRAM_PART = 1, PAD_OUTPUT_PART = 2 };

/* A no, with the engine's own code and the rule that refuses, if there is one. */
typedef struct {
    uint16_t code;
    bool has_rule;
    uint8_t part;
    uint16_t index;
} pad_refusal;

/* Whether an answer is a yes or a no. */
enum { PAD_ALLOWED = 0, PAD_REFUSED = 1 };

/* The answer for one Pad. */
typedef struct {
    uint8_t type;
    union {
        struct {
            const pad_quota_use *at;
            size_t length;
        } uses;
        pad_refusal refusal;
    };
} pad_answer;

/* One for each Pad that is asked about, in that order. */
typedef struct {
    const pad_answer *at;
    size_t length;
} pad_answers;

/* Defined by the engine: may this program compute on this dataset? */
PAD_EXPORT("check-input") const pad_answers *pad_check_input(const pad_input_question *question);

/* Defined by the engine: may this output leave the run? */
PAD_EXPORT("check-output") const pad_answers *pad_check_output(const pad_output_question *question);

/* Defined by the engine: may these policies replace those of the Pad? */
PAD_EXPORT("check-update") const pad_answer *pad_check_update(const pad_update_question *question);

/* The size in bytes of the proposed output's data. */
PAD_IMPORT("proposed", "size") uint64_t pad_proposed_size(void);

PAD_IMPORT("proposed", "read")
void pad_import_proposed_read(uint64_t offset, uint32_t length, pad_bytes *window);

/* A window of the proposed output's data. */
static inline pad_bytes pad_proposed_read(uint64_t offset, uint32_t length)
{
    pad_bytes window;
    pad_import_proposed_read(offset, length, &window);
    return window;
}

/* Where the sandbox puts what it hands over. */
PAD_EXPORT("cabi_realloc")
__attribute__((weak)) void *cabi_realloc(void *old, size_t old_size, size_t alignment, size_t size)
{
    (void)old_size;
    void *memory = size == 0 ? (void *)alignment : realloc(old, size);
    if (memory == NULL)
        __builtin_trap();
    return memory;
}

static_assert(sizeof(pad_tensor) == 20, "a tensor of the canonical ABI");
static_assert(sizeof(pad_policy) == 80, "a policy of the canonical ABI");
static_assert(sizeof(pad_attribute) == 24, "an attribute of the canonical ABI");
static_assert(sizeof(pad_statement) == 64, "a statement of the canonical ABI");
static_assert(sizeof(pad_view) == 96, "a Pad of the canonical ABI");
static_assert(sizeof(pad_input_question) == 176, "a question of the canonical ABI");
static_assert(sizeof(pad_output_question) == 240, "a question of the canonical ABI");
static_assert(sizeof(pad_update_question) == 144, "a question of the canonical ABI");
static_assert(sizeof(pad_quota_use) == 64, "a use of the canonical ABI");
static_assert(sizeof(pad_answer) == 12, "an answer of the canonical ABI");

#ifdef __cplusplus
}
#endif

#endif
