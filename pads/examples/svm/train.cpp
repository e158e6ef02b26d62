// A consumer that trains a classifier on the rows of all Pads of a run, each with its label as the
// last number, and proposes a Pad with the model.
#include "dataset.hpp"
#include "model.hpp"

void pad_run(const uint8_t *, size_t)
{
    std::vector<Row> rows;
    std::vector<uint32_t> pads;
    for (const std::string &text : opened()) {
        std::vector<Row> more = rows_of(text);
        rows.insert(rows.end(), more.begin(), more.end());
        pads.push_back(static_cast<uint32_t>(pads.size()));
    }
    if (!rows.empty())
        propose_model(pads, Model::trained(rows).bytes());
}
