// A consumer that goes on from a model with the rows of the other Pads of a run, and proposes a Pad
// with the new model.
#include "dataset.hpp"
#include "model.hpp"

void pad_run(const uint8_t *, size_t)
{
    std::vector<std::string> models;
    std::vector<Row> rows;
    std::vector<uint32_t> pads;
    uint32_t pad = 0;
    for (const std::string &text : opened()) {
        if (Model::is_model(text)) {
            models.push_back(text);
        } else {
            std::vector<Row> more = rows_of(text);
            rows.insert(rows.end(), more.begin(), more.end());
            pads.push_back(pad);
        }
        pad++;
    }
    if (pad == 0)
        return;
    require(models.size() == 1);
    propose_model(pads, Model::read(models.front()).tuned(rows).bytes());
}
