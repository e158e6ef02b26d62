// A consumer that asks a model for the labels of rows, which are the plain input of its owner or
// other Pads of the run. The labels are proposed as a result in plain, one a line.
#include "dataset.hpp"
#include "model.hpp"

static const char *const LABELS[2] = { "malignant", "benign" };

void pad_run(const uint8_t *plain, size_t length)
{
    std::vector<std::string> models, tables;
    for (const std::string &text : opened())
        (Model::is_model(text) ? models : tables).push_back(text);
    if (models.empty())
        return;
    require(models.size() == 1);
    tables.push_back(std::string(reinterpret_cast<const char *>(plain), length));
    Model model = Model::read(models.front());
    std::string answer;
    for (const std::string &table : tables)
        for (const Row &row : rows_of(table)) {
            answer += answer.empty() ? "" : "\n";
            answer += LABELS[model.label(row)];
        }
    pad_proposal output = {};
    output.data = bytes_of(answer);
    pad_propose(&output);
}
