/*
 * An example of a consumer in C that uses the native helper: inference by a model in the ONNX
 * format.
 *
 * The first Pad's data is the model. The plain input says what the other Pads are, its inputs in
 * their order: a line for each with the type of its elements and its dimensions, such as
 * "f32 1 3 48 320"; its data are the elements, little-endian. A first line "times 20" computes as
 * often. The elements of all outputs are proposed as a result in plain, one output after the other,
 * so policies have to allow that: HELPER_IN with onnx, PLAIN_INPUT, and PLAIN_RESULT of any form.
 */
#include <string.h>

#include "dstyx_pad.h"

#define MAX_DIMENSIONS 8

/* The names of elements, in the order of their types. */
static const char *const ELEMENTS[] = { "f32", "f64", "s32", "s64", "u8" };

/* What is left of the plain input. */
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} text;

static void *room(size_t size)
{
    void *memory = malloc(size == 0 ? 1 : size);
    if (memory == NULL)
        __builtin_trap();
    return memory;
}

/* The next word of the line, of no bytes at its end. */
static pad_bytes word(text *left)
{
    while (left->at < left->end && *left->at == ' ')
        left->at++;
    const uint8_t *from = left->at;
    while (left->at < left->end && *left->at != ' ' && *left->at != '\n')
        left->at++;
    return (pad_bytes){ from, left->at - from };
}

static void next_line(text *left)
{
    if (left->at < left->end && *left->at != '\n')
        __builtin_trap();
    if (left->at < left->end)
        left->at++;
}

static bool is(pad_bytes word, const char *name)
{
    return word.length == strlen(name) && memcmp(word.at, name, word.length) == 0;
}

static uint32_t number(pad_bytes word)
{
    uint32_t number = 0;
    if (word.length == 0 || word.length > 9)
        __builtin_trap();
    for (size_t i = 0; i < word.length; i++) {
        if (word.at[i] < '0' || word.at[i] > '9')
            __builtin_trap();
        number = number * 10 + (word.at[i] - '0');
    }
    return number;
}

static uint32_t times(text *left)
{
    text line = *left;
    if (!is(word(&line), "times"))
        return 1;
    uint32_t times = number(word(&line));
    next_line(&line);
    *left = line;
    return times;
}

/* All data of a Pad. */
static pad_bytes data(uint32_t pad)
{
    uint64_t size = pad_size(pad);
    uint8_t *all = room(size);
    for (uint64_t at = 0; at < size;) {
        uint64_t left = size - at;
        pad_bytes window = pad_read(pad, at, left < PAD_MAX_WINDOW ? left : PAD_MAX_WINDOW);
        memcpy(all + at, window.at, window.length);
        free((void *)window.at);
        at += window.length;
    }
    return (pad_bytes){ all, size };
}

static uint8_t element(pad_bytes name)
{
    for (uint8_t type = 0; type < sizeof ELEMENTS / sizeof *ELEMENTS; type++)
        if (is(name, ELEMENTS[type]))
            return type;
    __builtin_trap();
}

static pad_tensor tensor(uint32_t pad, text *left)
{
    uint32_t *dimensions = room(MAX_DIMENSIONS * sizeof *dimensions);
    pad_tensor tensor = { .element = element(word(left)), .data = data(pad) };
    tensor.dimensions.at = dimensions;
    for (pad_bytes size; (size = word(left)).length > 0;) {
        if (tensor.dimensions.length == MAX_DIMENSIONS)
            __builtin_trap();
        dimensions[tensor.dimensions.length++] = number(size);
    }
    next_line(left);
    return tensor;
}

static pad_bytes joined(pad_tensors outputs)
{
    size_t length = 0;
    for (size_t i = 0; i < outputs.length; i++)
        length += outputs.at[i].data.length;
    uint8_t *all = room(length), *to = all;
    for (size_t i = 0; i < outputs.length; i++) {
        memcpy(to, outputs.at[i].data.at, outputs.at[i].data.length);
        to += outputs.at[i].data.length;
    }
    return (pad_bytes){ all, length };
}

static void forget(pad_tensors tensors)
{
    for (size_t i = 0; i < tensors.length; i++) {
        free((void *)tensors.at[i].dimensions.at);
        free((void *)tensors.at[i].data.at);
    }
    free((void *)tensors.at);
}

void pad_run(const uint8_t *plain, size_t length)
{
    text left = { plain, plain + length };
    uint32_t pads = pad_count();
    for (uint32_t pad = 0; pad < pads; pad++)
        pad_add(pad);
    if (pads == 0 || !pad_check())
        return;
    pad_open();
    pad_bytes bytes = data(0);
    uint32_t again = times(&left), model = pad_load(bytes.at, bytes.length);
    free((void *)bytes.at);
    pad_tensor *inputs = room(pads * sizeof *inputs);
    for (uint32_t pad = 1; pad < pads; pad++)
        inputs[pad - 1] = tensor(pad, &left);
    pad_tensors outputs = { NULL, 0 };
    do {
        forget(outputs);
        outputs = pad_compute(model, (pad_tensors){ inputs, pads - 1 });
    } while (again-- > 1);
    pad_proposal result = { .data = joined(outputs) };
    pad_propose(&result);
}
