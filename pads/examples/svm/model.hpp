// A classifier of two classes by libsvm's own sources: how it is trained, used, written and read.
//
// The same code is compiled for the sandbox and for the host, where tests compare the two. libsvm
// writes models to files, which a sandbox has not, so the form here is ours: a mark, sizes, and all
// numbers as little-endian doubles.
#pragma once

#include <cmath>
#include <cstring>

#include "rows.hpp"
#include "svm.h"

class Model {
  public:
    // What the bytes of a model begin with.
    static constexpr const char *MARK = "dstyx-svm 1\n";

    static bool is_model(const std::string &bytes) { return bytes.rfind(MARK, 0) == 0; }

    // Trains on rows whose last number is the label, 0 or 1. Features are scaled by what the rows
    // have.
    static Model trained(const std::vector<Row> &rows)
    {
        require(!rows.empty() && rows.front().size() > 1);
        Model model;
        size_t features = rows.front().size() - 1;
        model.low.assign(features, HUGE_VAL);
        model.high.assign(features, -HUGE_VAL);
        for (const Row &row : rows)
            for (size_t i = 0; i < features; i++) {
                model.low[i] = std::min(model.low[i], row[i]);
                model.high[i] = std::max(model.high[i], row[i]);
            }
        model.learn(model.labelled(rows));
        return model;
    }

    // Goes on from what a model remembers of its rows, the support vectors, with more of them. They
    // are scaled as the first ones were.
    Model tuned(const std::vector<Row> &rows) const
    {
        require(!rows.empty() && rows.front().size() == low.size() + 1);
        Model model;
        model.low = low;
        model.high = high;
        std::vector<Row> all = vectors;
        std::vector<Row> more = labelled(rows);
        all.insert(all.end(), more.begin(), more.end());
        model.learn(all);
        return model;
    }

    // The label of a row of features. A label behind them is not looked at.
    int label(const Row &row) const
    {
        require(row.size() == low.size() || row.size() == low.size() + 1);
        std::vector<std::vector<svm_node>> nodes;
        for (const Row &vector : vectors)
            nodes.push_back(nodes_of(vector));
        std::vector<svm_node *> each;
        for (auto &vector : nodes)
            each.push_back(vector.data());
        std::vector<double> weights = coefficients;
        double *weights_of_class[1] = { weights.data() };
        double offset = rho;
        int labels[2] = { first_label, 1 - first_label };
        svm_model model = {};
        model.param = parameters();
        model.nr_class = 2;
        model.l = static_cast<int>(each.size());
        model.SV = each.data();
        model.sv_coef = weights_of_class;
        model.rho = &offset;
        model.label = labels;
        int counts[2] = { first_count, model.l - first_count };
        model.nSV = counts;
        std::vector<svm_node> item = nodes_of(scaled(row));
        return static_cast<int>(svm_predict(&model, item.data()));
    }

    std::string bytes() const
    {
        std::string out = MARK;
        put(out, { double(low.size()), double(vectors.size()), double(first_label), double(first_count), rho });
        put(out, low);
        put(out, high);
        put(out, coefficients);
        for (const Row &vector : vectors)
            put(out, vector);
        return out;
    }

    static Model read(const std::string &bytes)
    {
        require(is_model(bytes));
        size_t at = std::strlen(MARK);
        Model model;
        Row head = take(bytes, at, 5);
        for (int i = 0; i < 4; i++)
            require(head[i] >= 0 && head[i] <= MOST && head[i] == std::floor(head[i]));
        size_t features = size_t(head[0]), count = size_t(head[1]);
        model.first_label = int(head[2]);
        model.first_count = int(head[3]);
        model.rho = head[4];
        require(features > 0 && model.first_label <= 1 && model.first_count <= int(count));
        model.low = take(bytes, at, features);
        model.high = take(bytes, at, features);
        model.coefficients = take(bytes, at, count);
        for (size_t i = 0; i < count; i++)
            model.vectors.push_back(take(bytes, at, features + 1));
        require(at == bytes.size());
        return model;
    }

  private:
    // No model is larger in either direction.
    static constexpr double MOST = 1e6;

    Row low, high;
    // Scaled features, and the label behind them.
    std::vector<Row> vectors;
    Row coefficients;
    double rho = 0;
    int first_label = 0, first_count = 0;

    svm_parameter parameters() const
    {
        svm_parameter parameters = {};
        parameters.svm_type = C_SVC;
        parameters.kernel_type = RBF;
        parameters.gamma = 1.0 / double(low.size());
        parameters.C = 10;
        parameters.cache_size = 16;
        parameters.eps = 1e-3;
        parameters.shrinking = 1;
        return parameters;
    }

    // The range of each feature becomes -1 to 1.
    Row scaled(const Row &row) const
    {
        Row out(low.size());
        for (size_t i = 0; i < out.size(); i++)
            out[i] = high[i] > low[i] ? 2 * (row[i] - low[i]) / (high[i] - low[i]) - 1 : 0;
        return out;
    }

    std::vector<Row> labelled(const std::vector<Row> &rows) const
    {
        std::vector<Row> out;
        for (const Row &row : rows) {
            require(row.back() == 0 || row.back() == 1);
            out.push_back(scaled(row));
            out.back().push_back(row.back());
        }
        return out;
    }

    static std::vector<svm_node> nodes_of(const Row &features_and_more, size_t features)
    {
        std::vector<svm_node> nodes;
        for (size_t i = 0; i < features; i++)
            nodes.push_back({ int(i) + 1, features_and_more[i] });
        nodes.push_back({ -1, 0 });
        return nodes;
    }

    std::vector<svm_node> nodes_of(const Row &row) const { return nodes_of(row, low.size()); }

    // Trains on scaled rows, and keeps those that the result is made of.
    void learn(const std::vector<Row> &rows)
    {
        std::vector<std::vector<svm_node>> nodes;
        std::vector<double> labels;
        for (const Row &row : rows) {
            nodes.push_back(nodes_of(row));
            labels.push_back(row.back());
        }
        std::vector<svm_node *> each;
        for (auto &row : nodes)
            each.push_back(row.data());
        svm_problem problem = { int(rows.size()), labels.data(), each.data() };
        svm_parameter wanted = parameters();
        require(svm_check_parameter(&problem, &wanted) == nullptr);
        svm_set_print_string_function([](const char *) {});
        svm_model *model = svm_train(&problem, &wanted);
        require(svm_get_nr_class(model) == 2);
        first_label = model->label[0];
        first_count = model->nSV[0];
        rho = model->rho[0];
        for (int i = 0; i < model->l; i++) {
            vectors.push_back(rows[size_t(model->sv_indices[i]) - 1]);
            coefficients.push_back(model->sv_coef[0][i]);
        }
        svm_free_and_destroy_model(&model);
    }

    static void put(std::string &out, const Row &numbers)
    {
        out.append(reinterpret_cast<const char *>(numbers.data()), numbers.size() * sizeof(double));
    }

    static Row take(const std::string &bytes, size_t &at, size_t count)
    {
        require(count <= (bytes.size() - at) / sizeof(double));
        Row numbers(count);
        std::memcpy(numbers.data(), bytes.data() + at, count * sizeof(double));
        at += count * sizeof(double);
        return numbers;
    }
};
