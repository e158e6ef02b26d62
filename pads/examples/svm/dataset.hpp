// The dataset of a run as texts, and the Pad that is made of a model.
//
// Which policy the model's Pad has, and who is its custodian, is not this program's business: each
// Pad with rows states it in its attributes, and all of them have to state the same.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "dstyx_pad.h"
#include "rows.hpp"

// Opens all Pads of the run; ends the program quietly if an engine refuses.
inline std::vector<std::string> opened()
{
    uint32_t pads = pad_count();
    for (uint32_t pad = 0; pad < pads; pad++)
        pad_add(pad);
    std::vector<std::string> texts;
    if (!pad_check())
        return texts;
    pad_open();
    for (uint32_t pad = 0; pad < pads; pad++) {
        uint64_t size = pad_size(pad);
        std::string text;
        while (text.size() < size) {
            uint64_t left = size - text.size();
            pad_bytes window = pad_read(pad, text.size(), left < PAD_MAX_WINDOW ? left : PAD_MAX_WINDOW);
            text.append(reinterpret_cast<const char *>(window.at), window.length);
            free(const_cast<uint8_t *>(window.at));
        }
        texts.push_back(text);
    }
    return texts;
}

inline std::string string_of(pad_bytes bytes)
{
    return std::string(reinterpret_cast<const char *>(bytes.at), bytes.length);
}

inline pad_bytes bytes_of(const std::string &text)
{
    return { reinterpret_cast<const uint8_t *>(text.data()), text.size() };
}

// What all these Pads state by an attribute of bytes.
inline std::string stated(const std::vector<uint32_t> &pads, const std::string &name)
{
    require(!pads.empty());
    std::vector<std::string> values;
    for (uint32_t pad : pads) {
        pad_contents contents = pad_describe(pad);
        for (size_t i = 0; i < contents.attributes.length; i++) {
            const pad_attribute &attribute = contents.attributes.at[i];
            if (string_of(attribute.name) == name && attribute.value.type == PAD_BYTES)
                values.push_back(string_of(attribute.value.bytes));
        }
    }
    require(values.size() == pads.size());
    for (const std::string &value : values)
        require(value == values.front());
    return values.front();
}

// Proposes a Pad with a model, as the Pads with rows want it: under the engine of their first
// policy.
inline void propose_model(const std::vector<uint32_t> &pads, const std::string &model)
{
    std::string custodian = stated(pads, "model-custodian");
    std::string input = stated(pads, "model-input"), program = stated(pads, "model-program");
    std::string result = stated(pads, "model-output"), name = "model";
    pad_contents first = pad_describe(pads.front());
    require(first.policies.length > 0 && custodian.size() == 32);
    pad_policy policy = first.policies.at[0];
    policy.input_id = bytes_of(name);
    policy.input_constraint = bytes_of(input);
    policy.program_constraint = bytes_of(program);
    policy.output_constraint = bytes_of(result);
    pad_proposal output = {};
    output.custodian.is_some = true;
    for (int i = 0; i < 32; i++) {
        uint64_t &word = output.custodian.digest.word[i / 8];
        word = word << 8 | static_cast<uint8_t>(custodian[i]);
    }
    output.policies = { &policy, 1 };
    output.data = bytes_of(model);
    pad_propose(&output);
}
