// The same classifier on the host: trains on the first rows of a table, goes on with the next ones,
// and prints a line for each row that is left, with its labels by the first and the second model.
//
//     native TABLE TRAINED TUNED
#include <fstream>
#include <iostream>
#include <iterator>

#include "model.hpp"

int main(int count, char **arguments)
{
    require(count == 4);
    std::ifstream file(arguments[1]);
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<Row> rows = rows_of(text);
    size_t trained = std::stoul(arguments[2]), tuned = std::stoul(arguments[3]);
    require(trained + tuned <= rows.size());
    auto first = rows.begin() + long(trained), second = first + long(tuned);
    Model model = Model::trained({ rows.begin(), first });
    Model again = Model::read(model.bytes()).tuned({ first, second });
    for (auto row = second; row != rows.end(); ++row)
        std::cout << model.label(*row) << ' ' << again.label(*row) << '\n';
}
